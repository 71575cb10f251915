# CyCTR on ResNet-50: PSPNet's stem and ImageNet weights, and torchvision's dilations: the first block of a stage keeps
# that of the stage before (MSANet, BAM and PFENet dilate all blocks of a stage alike).
_base_ = './imagenet_r50.py'

model = dict(backbone=dict(contract_dilation=True), decode_head=dict(type='CyCTRHead'))
