# ResNet-50 with ImageNet weights (PSPNet's deep stem, output stride 8) and no base learner; a method adds its head.
# tools/model_converters/pspnet_init2mmfss.py writes the weights.
_base_ = './r50_backbone.py'

work_root = '{{$MMFSS_WORK_ROOT:work_dirs}}'  # --work-root
pretrained_root = '{{$MMFSS_PRETRAINED:pretrained}}'  # where the converters put ImageNet weights

model = dict(
    type='FewShotSegmentor',
    data_preprocessor=dict(
        type='EpisodeDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=f'{pretrained_root}/resnet50_v2.pth')),
)
