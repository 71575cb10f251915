# PANet: SGD, 30,000 steps of one episode, a tenth of the learning rate after 10,000 and 20,000. Biases decay too.
max_iters = 30000

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-3, momentum=0.9, weight_decay=5e-4))

param_scheduler = [dict(type='MultiStepLR', milestones=[10000, 20000], gamma=0.1, by_epoch=False)]

# The released code does not validate and keeps the last weights; a validation here only shows how a run is doing.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=10000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')


# The learning rate belongs to one episode a step.
auto_scale_lr = dict(enable=True, base_batch_size=1)
