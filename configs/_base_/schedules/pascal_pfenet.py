# PFENet on PASCAL-5i: SGD, 200 epochs, 4 episodes a step on one GPU, poly per iteration. The released code writes
# 0.0025 with a tenfold group factor: 0.025.
_base_ = './pascal_meta.py'

optim_wrapper = dict(optimizer=dict(lr=0.025))
train_cfg = dict(val_interval=2)
auto_scale_lr = dict(base_batch_size=4)
