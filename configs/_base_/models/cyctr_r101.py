# CyCTR on ResNet-101.
_base_ = './cyctr_r50.py'

model = dict(backbone=dict(depth=101, init_cfg=dict(checkpoint=f'{_base_.pretrained_root}/resnet101_v2.pth')))
