# EfficientNet-Lite0 with ImageNet weights, output stride 8: the backbone for machines without a GPU.
# tools/model_converters/efficientnet_lite2mmfss.py writes the checkpoint.
work_root = '{{$MMFSS_WORK_ROOT:work_dirs}}'  # --work-root
pretrained_root = '{{$MMFSS_PRETRAINED:pretrained}}'  # where the converters put ImageNet weights

preprocessing = dict(mean=[127.0, 127.0, 127.0], std=[128.0, 128.0, 128.0], bgr_to_rgb=True)
# Frozen in both stages: a few hundred photos a fold would sooner spoil ImageNet's features than improve them.
backbone = dict(
    type='BlockFeatureBackbone',
    backbone=dict(
        type='mmseg.TIMMBackbone',
        model_name='tf_efficientnet_lite0',
        features_only=True,
        pretrained=False,
        output_stride=8,
        init_cfg=dict(type='Pretrained', checkpoint=f'{pretrained_root}/efficientnet_lite0.pth'),
    ),
    blocks=([r'timm_model\.blocks\.2\.\d'], [r'timm_model\.blocks\.[34]\.\d'], [r'timm_model\.blocks\.[56]\.\d']),
    last_stage=[r'timm_model\.blocks\.[56]'],  # of methods that mask a support before it
    frozen=True,
    compute_dtype='auto',
)
# The base learner's head: trained by stage 1, frozen in stage 2.
base_head = dict(
    type='mmseg.PSPHead',
    in_channels=320,
    channels=96,
    num_classes=16,
    norm_cfg=dict(type='BN'),
    align_corners=True,
    loss_decode=dict(type='mmseg.CrossEntropyLoss', avg_non_ignore=True),
)
