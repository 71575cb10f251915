# HSNet on ResNet-101.
_base_ = './hsnet_r50.py'

model = dict(backbone=dict(depth=101, init_cfg=dict(checkpoint=f'{_base_.pretrained_root}/resnet101-63fe2227.pth')))
