# RePRI on ResNet-50: PSPNet's deep stem, output stride 8, and as feature what the base learner's classifier sees.
# Their weights come from stage 1 (model.base_checkpoint).
_base_ = './r50_backbone.py'

work_root = '{{$MMFSS_WORK_ROOT:work_dirs}}'  # --work-root

model = dict(
    type='FewShotSegmentor',
    data_preprocessor=dict(
        type='EpisodeDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    neck=dict(
        type='BaseLearnerNeck',
        base_head=dict(
            type='mmseg.PSPHead',
            in_channels=2048,
            channels=512,
            num_classes=16,  # background and the fold's base classes; COCO-20i has 61
            norm_cfg=dict(type='BN'),
            align_corners=True,
        ),
    ),
    decode_head=dict(type='RePRIHead'),
)
