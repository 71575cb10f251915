# HSNet: Adam at a constant rate, validation every epoch, the best mIoU kept. The authors stop when it saturates (of
# FSS-1000 on ResNet-50 the published weights are from epoch 731), 2,000 epochs are only the limit.
max_epochs = 2000

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3))
param_scheduler = []
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# Adam's step hardly depends on the batch size: the learning rate stays as it is.
auto_scale_lr = dict(enable=False, base_batch_size=20)
