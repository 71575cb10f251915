# MSANet on PASCAL-5i for machines without a GPU: EfficientNet-Lite0, 257x257 images, 128 channels.
_base_ = [
    '../_base_/models/lite0_backbone.py',
    '../_base_/datasets/pascal5i_lite_episodes.py',
    '../_base_/schedules/lite_meta.py',
    '../_base_/default_runtime.py',
]
work_dir = f'{_base_.work_root}/msanet/lite0_pascal_1shot/{_base_.run_name}'
base_learner = dict(
    config='configs/pspnet/lite0_pascal.py',
    checkpoint=f'{_base_.work_root}/pspnet/lite0_pascal/fold{_base_.fold}/base_learner.pth',
)

model = dict(
    type='BaseLearnerEnsemble',
    data_preprocessor=dict(type='EpisodeDataPreProcessor', **_base_.preprocessing),
    backbone=_base_.backbone,
    decode_head=dict(type='MSANetHead', channels=128),
    base_head=_base_.base_head,
    # A head that saw few kinds of things takes unlike ones for background (docs/results.md): foreground counts more.
    loss_decode=dict(type='WeightedCrossEntropyLoss', class_weight=(1.0, 2.5)),
    # Floors that need no training, measured on the same episodes.
    comparison_heads=dict(prototype=dict(type='PrototypeHead'), prior=dict(type='PriorMaskHead', threshold=0.5)),
    base_checkpoint=base_learner['checkpoint'],
)
# The ensemble's four weights stay near their start: else they grow to sharpen `final`, and the background wins.
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={k: dict(lr_mult=0.1, decay_mult=0.0) for k in ('merge_adjustment', 'merge_base')})
)
