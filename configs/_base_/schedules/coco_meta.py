# Stage 2 on COCO-20i: as on PASCAL-5i, for 50 epochs.
_base_ = './pascal_meta.py'

max_epochs = 50

param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True)
]

train_cfg = dict(max_epochs=max_epochs)
