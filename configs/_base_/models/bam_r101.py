# BAM on ResNet-101: no published result, but MSANet's repository holds its base learner.
_base_ = './bam_r50.py'

model = dict(backbone=dict(depth=101))
