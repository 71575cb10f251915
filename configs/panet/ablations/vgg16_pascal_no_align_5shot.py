# PANet without the alignment loss, VGG16, PASCAL-5i, 5-shot.
_base_ = '../vgg16_pascal_5shot.py'
work_dir = f'{_base_.work_root}/panet/ablations/vgg16_pascal_no_align_5shot/fold{_base_.fold}'
model = dict(decode_head=dict(align_weight=0.0))
