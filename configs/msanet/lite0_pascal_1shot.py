# MSANet on PASCAL-5i for machines without a GPU: EfficientNet-Lite0, 257x257 images, 128 channels.
_base_ = [
    '../_base_/models/lite0_backbone.py', '../_base_/datasets/pascal5i_lite_episodes.py',
    '../_base_/schedules/lite_meta.py', '../_base_/default_runtime.py'
]
work_dir = f'{_base_.work_root}/msanet/lite0_pascal_1shot/fold{_base_.fold}'
base_learner = dict(
    config='configs/pspnet/lite0_pascal.py',
    checkpoint=f'{_base_.work_root}/pspnet/lite0_pascal/fold{_base_.fold}/base_learner.pth')

model = dict(
    type='BaseLearnerEnsemble',
    data_preprocessor=dict(type='EpisodeDataPreProcessor', **_base_.preprocessing),
    backbone=_base_.backbone,
    decode_head=dict(type='MSANetHead', channels=128),
    base_head=_base_.base_head,
    # Floors that need no training, measured on the same episodes.
    comparison_heads=dict(prototype=dict(type='PrototypeHead'), prior=dict(type='PriorMaskHead', threshold=0.5)),
    base_checkpoint=base_learner['checkpoint'],
    feature_cache_gb=4)
