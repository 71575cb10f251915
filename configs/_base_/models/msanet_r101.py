# MSANet on ResNet-101.
_base_ = './msanet_r50.py'

model = dict(backbone=dict(depth=101))
