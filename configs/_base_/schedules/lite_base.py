# Stage 1 for machines without a GPU: AdamW, few epochs, poly per iteration.
# In epochs rather than iterations, so that an interrupted run resumes without replaying its data.
max_epochs = 3

# Bfloat16 where the device computes in it (two to three times as fast on such a CPU), else float32.
optim_wrapper = dict(type='BFloat16OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4))

param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True)
]

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# Adam's step hardly depends on the batch size: the learning rate stays as it is.
auto_scale_lr = dict(enable=False, base_batch_size=8)
