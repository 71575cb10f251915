# VAT on COCO-20i: as on PASCAL-5i, for 400 epochs.
_base_ = './pascal_vat.py'

max_epochs = 400
train_cfg = dict(max_epochs=max_epochs)
