# CyCTR on PASCAL-5i for machines without a GPU: EfficientNet-Lite0 with fixed statistics, 257x257, 128 channels, one
# optimiser for everything.
_base_ = [
    '../_base_/models/lite0_backbone.py',
    '../_base_/datasets/pascal5i_lite_episodes.py',
    '../_base_/schedules/lite_meta.py',
    '../_base_/default_runtime.py',
]
work_dir = f'{_base_.work_root}/cyctr/lite0_pascal_1shot/{_base_.run_name}'
model = dict(
    type='FewShotSegmentor',
    data_preprocessor=dict(type='EpisodeDataPreProcessor', **_base_.preprocessing),
    backbone=_base_.backbone,
    decode_head=dict(type='CyCTRHead', channels=128, tokens=100),  # a map has 33x33 positions, not 60x60
    # Floors that need no training, measured on the same episodes.
    comparison_heads=dict(prototype=dict(type='PrototypeHead'), prior=dict(type='PriorMaskHead', threshold=0.5)),
)
