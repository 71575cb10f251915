# The training-free prototype on ResNet-50 with ImageNet weights.
_base_ = './imagenet_r50.py'

model = dict(decode_head=dict(type='PrototypeHead'))
