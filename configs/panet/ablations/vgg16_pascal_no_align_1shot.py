# PANet without the alignment loss, VGG16, PASCAL-5i, 1-shot.
_base_ = '../vgg16_pascal_1shot.py'
work_dir = f'{_base_.work_root}/panet/ablations/vgg16_pascal_no_align_1shot/{_base_.run_name}'
model = dict(decode_head=dict(align_weight=0.0))
