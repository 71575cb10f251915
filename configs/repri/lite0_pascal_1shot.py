# RePRI on PASCAL-5i for machines without a GPU: EfficientNet-Lite0, 257x257, balanced episodes at original size.
_base_ = [
    '../_base_/models/lite0_backbone.py',
    '../_base_/datasets/pascal5i_lite_episodes.py',
    '../_base_/default_runtime.py',
]
work_dir = f'{_base_.work_root}/repri/lite0_pascal_1shot/{_base_.run_name}'

base_learner = dict(
    config='configs/repri/base_lite0_pascal.py',
    checkpoint=f'{_base_.work_root}/repri/base_lite0_pascal/fold{_base_.fold}/base_learner.pth',
)
model = dict(
    type='FewShotSegmentor',
    data_preprocessor=dict(type='EpisodeDataPreProcessor', **_base_.preprocessing),
    backbone=_base_.backbone,
    neck=dict(type='BaseLearnerNeck', base_head=_base_.base_head),
    decode_head=dict(type='RePRIHead'),
    base_checkpoint=base_learner['checkpoint'],
    # Floors that need no training, measured on the same episodes.
    comparison_heads=dict(prototype=dict(type='PrototypeHead'), prior=dict(type='PriorMaskHead', threshold=0.5)),
)
train_dataloader = val_dataloader = val_evaluator = None
test_cfg = dict(type='TestLoop')
