# MSANet on ResNet-101: BAM with MSANet's head.
_base_ = './bam_r101.py'

model = dict(decode_head=dict(type='MSANetHead'))
