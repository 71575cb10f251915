# VAT on PASCAL-5i and FSS-1000: AdamW without weight decay, 300 epochs, 16 episodes a step, a constant learning rate.
max_epochs = 300

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.0))
param_scheduler = []

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# Adam's step hardly depends on the batch size: the learning rate stays as it is.
auto_scale_lr = dict(enable=False, base_batch_size=16)
