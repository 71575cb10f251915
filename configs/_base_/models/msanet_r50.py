# MSANet on ResNet-50: BAM with MSANet's head.
_base_ = './bam_r50.py'

model = dict(decode_head=dict(type='MSANetHead'))
