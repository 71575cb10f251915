# Stage 1 on COCO-20i as BAM trains it: 20 epochs, 12 images a step, 2.5e-3 for everything.
_base_ = './pascal_base.py'

max_epochs = 20

optim_wrapper = dict(
    _delete_=True, type='OptimWrapper', optimizer=dict(type='SGD', lr=2.5e-3, momentum=0.9, weight_decay=1e-4)
)

param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True)
]

train_cfg = dict(max_epochs=max_epochs)
