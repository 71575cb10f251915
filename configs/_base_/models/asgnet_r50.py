# ASGNet on ResNet-50. Its BatchNorm is in training mode in training: the frozen weights get no gradient, but
# statistics of the batch are used and the running ones move.
_base_ = './imagenet_r50.py'

model = dict(
    norm_eval=False,  # True: fixed statistics, and features that can be kept between epochs
    decode_head=dict(type='ASGNetHead'),
)
