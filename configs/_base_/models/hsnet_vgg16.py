# HSNet on VGG16 without BatchNorm.
_base_ = './hsnet_r50.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='PlainVGG',
        output_stride=32,
        init_cfg=dict(type='Pretrained', checkpoint=f'{_base_.pretrained_root}/vgg16.pth'),
    )
)
