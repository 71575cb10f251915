# MSANet on VGG16-BN: 128 channels in each branch of the pyramid.
_base_ = './msanet_r50.py'

model = dict(
    backbone=dict(_delete_=True, type='BlockVGG'),
    base_head=dict(type='NarrowPSPHead', in_channels=512, pyramid_channels=128),
)
