# BAM on ResNet-50: PSPNet's deep stem, output stride 8. The backbone and the base head are those of pspnet_r50.py;
# their weights come from stage 1 (model.base_checkpoint).
work_root = '{{$MMFSS_WORK_ROOT:work_dirs}}'  # --work-root

model = dict(
    type='BaseLearnerEnsemble',
    data_preprocessor=dict(
        type='EpisodeDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(
        type='BlockResNet',
        depth=50,
        deep_stem=True,
        stem_channels=128,
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
    ),
    decode_head=dict(type='BAMHead'),
    base_head=dict(
        type='mmseg.PSPHead',
        in_channels=2048,
        channels=512,
        num_classes=16,  # background and the fold's base classes; COCO-20i has 61
        norm_cfg=dict(type='BN'),
        align_corners=True,
    ),
)
