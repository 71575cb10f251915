# PFENet on VGG16-BN.
_base_ = './pfenet_r50.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='BlockVGG',
        init_cfg=dict(type='Pretrained', checkpoint=f'{_base_.pretrained_root}/vgg16_bn.pth'),
    )
)
