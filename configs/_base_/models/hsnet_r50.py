# HSNet on ResNet-50: torchvision's plain network (7x7 stem, no dilation) with its first ImageNet weights, frozen.
work_root = '{{$MMFSS_WORK_ROOT:work_dirs}}'  # --work-root
pretrained_root = '{{$MMFSS_PRETRAINED:pretrained}}'  # where torchvision's files are, see docs/pretrained.md

model = dict(
    type='FewShotSegmentor',
    data_preprocessor=dict(
        type='EpisodeDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(
        type='BlockResNet',
        depth=50,
        init_cfg=dict(type='Pretrained', checkpoint=f'{pretrained_root}/resnet50-0676ba61.pth'),
    ),
    decode_head=dict(type='HSNetHead'),
)
