# MSANet on PASCAL-5i for machines without a GPU, 5-shot. Five supports cost three times the backbone, so the 1-shot
# meta learner is trained on for a few iterations: run configs/msanet/lite0_pascal_1shot.py for the fold first.
_base_ = './lite0_pascal_1shot.py'
work_dir = f'{_base_.work_root}/msanet/lite0_pascal_5shot/fold{_base_.fold}'
load_from = f'{_base_.work_root}/msanet/lite0_pascal_1shot/fold{_base_.fold}/meta_learner.pth'

shots = 5
val_dataloader = test_dataloader = dict(dataset=dict(shots=shots))
train_dataloader = dict(val_dataloader, sampler=dict(type='InfiniteSampler', shuffle=True))
model = dict(decode_head=dict(shot_weighting=dict(shots=shots)))

max_iters = 100
optim_wrapper = dict(optimizer=dict(lr=3e-4))
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=max_iters, by_epoch=False)]
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=max_iters),
    checkpoint_guard=dict(new=[r'decode_head\.shot_weighting\..*']),
)
log_processor = dict(by_epoch=False)
