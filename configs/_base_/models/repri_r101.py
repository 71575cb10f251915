# RePRI on ResNet-101.
_base_ = './repri_r50.py'

model = dict(backbone=dict(depth=101))
