# CyCTR on COCO-20i: 50 epochs, 8 episodes a step on one GPU: 0.005 with the factor of 15. (The published recipe has
# 0.02, so 0.3, for 32 episodes on four GPUs.)
_base_ = './pascal_cyctr.py'

max_epochs = 50

optim_wrapper = dict(optimizer=dict(lr=0.075))
param_scheduler = dict(
    rest=[
        dict(type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True)
    ]
)
train_cfg = dict(max_epochs=max_epochs, val_begin=11)
auto_scale_lr = dict(base_batch_size=8)
