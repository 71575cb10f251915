# PANet on PASCAL-5i for machines without a GPU: EfficientNet-Lite0, 257x257. The backbone learns, its BatchNorm
# statistics stay those of ImageNet.
_base_ = [
    '../_base_/models/lite0_backbone.py',
    '../_base_/datasets/pascal5i_lite_episodes.py',
    '../_base_/schedules/panet.py',
    '../_base_/iter_runtime.py',
]
work_dir = f'{_base_.work_root}/panet/lite0_pascal_1shot/{_base_.run_name}'
model = dict(
    type='FewShotSegmentor',
    freeze_backbone=False,
    data_preprocessor=dict(type='EpisodeDataPreProcessor', **_base_.preprocessing),
    backbone=dict(_base_.backbone, frozen=False, norm_eval=True),
    decode_head=dict(type='PANetHead'),
)

# Weights that are good already: few steps, and a tenth of the learning rate of a new head. All layers take part in the
# backward pass, so a step costs several times that of a method on frozen features.
max_iters = 100
total_batch_size = 2
optim_wrapper = dict(
    _delete_=True, type='BFloat16OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4)
)
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=max_iters, by_epoch=False)]
train_dataloader = dict(batch_size=total_batch_size, sampler=dict(type='InfiniteSampler'))
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=50))
auto_scale_lr = dict(enable=False, base_batch_size=total_batch_size)
