# BAM on VGG16-BN: 128 channels in each branch of the base learner's pyramid.
_base_ = './bam_r50.py'

model = dict(
    backbone=dict(_delete_=True, type='BlockVGG'),
    base_head=dict(type='NarrowPSPHead', in_channels=512, pyramid_channels=128),
)
