# Stage 1 on PASCAL-5i as BAM trains it: SGD, 100 epochs, 12 images a step, poly per iteration;
# 2.5e-4 for the backbone (it starts from ImageNet weights) and ten times that for the head.
max_epochs = 100

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=2.5e-4, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={'decode_head': dict(lr_mult=10.0)}),
)

# Written in epochs, stepped in iterations: base_lr * (1 - iteration / all iterations) ** 0.9.
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True)
]

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# The learning rates above belong to 12 images a step over all processes (total_batch_size). With
# another total they are scaled by total / 12: 8 processes take 2 images each, 16 in all.
auto_scale_lr = dict(enable=True, base_batch_size=12)
