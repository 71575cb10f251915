# PANet on plain VGG16 (no BatchNorm), output stride 8, all of it trained from ImageNet weights.
# tools/model_converters/pspnet_init2mmfss.py writes them.
work_root = '{{$MMFSS_WORK_ROOT:work_dirs}}'  # --work-root
pretrained_root = '{{$MMFSS_PRETRAINED:pretrained}}'  # where the converters put ImageNet weights

model = dict(
    type='FewShotSegmentor',
    freeze_backbone=False,
    data_preprocessor=dict(
        type='EpisodeDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(
        type='PlainVGG',
        dilations=(1, 1, 1, 1, 2),
        last_relu=False,
        last_pool=False,
        init_cfg=dict(type='Pretrained', checkpoint=f'{pretrained_root}/vgg16.pth'),
    ),
    decode_head=dict(type='PANetHead'),
)
