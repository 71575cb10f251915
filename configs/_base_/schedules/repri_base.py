# Stage 1 as RePRI trains it, on PASCAL-5i: SGD with Nesterov's momentum, 100 epochs, 12 images a step, 2.5e-3 for
# everything, down to 1e-6 along a cosine per iteration.
max_epochs = 100

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=2.5e-3, momentum=0.9, nesterov=True, weight_decay=1e-4)
)

# Written in epochs, stepped in iterations.
param_scheduler = [
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True)
]

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# The learning rate belongs to 12 images a step over all processes (total_batch_size).
auto_scale_lr = dict(enable=True, base_batch_size=12)
