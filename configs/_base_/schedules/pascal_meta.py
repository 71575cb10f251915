# Stage 2 on PASCAL-5i: SGD, 200 epochs, 8 episodes a step, poly per iteration. The released code
# writes 0.005 with a tenfold group factor, the paper 5e-2: both mean 0.05. The backbone and the
# base learner are frozen by the model, so they need no rule here.
max_epochs = 200

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=1e-4))

# Written in epochs, stepped in iterations: base_lr * (1 - iteration / all iterations) ** 0.9.
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True)
]

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# 0.05 belongs to 8 episodes a step over all processes, which total_batch_size keeps on any number
# of them. With another total it is scaled by total / 8.
auto_scale_lr = dict(enable=True, base_batch_size=8)
