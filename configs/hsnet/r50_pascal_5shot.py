# HSNet, ResNet-50, PASCAL-5i, 5-shot.
_base_ = ['../_base_/models/hsnet_r50.py']
