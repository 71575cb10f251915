# The base learner on VGG16-BN: 128 channels in each branch of the pyramid.
_base_ = './pspnet_r50.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='BlockVGG',
        init_cfg=dict(type='Pretrained', checkpoint=f'{_base_.pretrained_root}/vgg16_bn.pth'),
    ),
    decode_head=dict(type='NarrowPSPHead', in_channels=512, pyramid_channels=128),
)
