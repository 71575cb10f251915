# Stage 1 as RePRI trains it, on COCO-20i: as on PASCAL-5i, 20 epochs.
_base_ = './repri_base.py'

max_epochs = 20

param_scheduler = [
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True)
]
train_cfg = dict(max_epochs=max_epochs)
