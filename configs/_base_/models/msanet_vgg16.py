# MSANet on VGG16-BN: BAM with MSANet's head.
_base_ = './bam_vgg16.py'

model = dict(decode_head=dict(type='MSANetHead'))
