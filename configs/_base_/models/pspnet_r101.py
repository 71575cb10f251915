# The base learner on ResNet-101.
_base_ = './pspnet_r50.py'

model = dict(
    backbone=dict(
        depth=101, init_cfg=dict(checkpoint=f'{_base_.work_root}/pretrained/resnet101_v2.pth')))
