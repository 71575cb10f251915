# ASGNet on PASCAL-5i for machines without a GPU: EfficientNet-Lite0 with fixed statistics, 257x257, 128 channels.
_base_ = [
    '../_base_/models/lite0_backbone.py',
    '../_base_/datasets/pascal5i_lite_episodes.py',
    '../_base_/schedules/lite_meta.py',
    '../_base_/default_runtime.py',
]
work_dir = f'{_base_.work_root}/asgnet/lite0_pascal_1shot/{_base_.run_name}'
model = dict(
    type='FewShotSegmentor',
    data_preprocessor=dict(type='EpisodeDataPreProcessor', **_base_.preprocessing),
    backbone=_base_.backbone,
    decode_head=dict(
        type='ASGNetHead',
        channels=128,
        bins=(1.0, 0.5, 0.25, 0.125),
        superpixel_area=30,  # of 33x33 positions: the share of the image that 100 are of 60x60
        probability='mean',  # one training serves every K
    ),
    # A head that saw few kinds of things takes unlike ones for background (docs/results.md): foreground counts more.
    loss_decode=dict(type='WeightedCrossEntropyLoss', class_weight=(1.0, 2.5)),
    # Floors that need no training, measured on the same episodes.
    comparison_heads=dict(prototype=dict(type='PrototypeHead'), prior=dict(type='PriorMaskHead', threshold=0.5)),
)
