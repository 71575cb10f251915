# Stage 1, the base learner of configs/msanet/vgg16_coco_*shot.py.
_base_ = [
    '../_base_/models/pspnet_vgg16.py',
    '../_base_/datasets/coco20i_base.py',
    '../_base_/schedules/coco_base.py',
    '../_base_/base_runtime.py',
]
work_dir = f'{_base_.work_root}/pspnet/vgg16_coco/fold{_base_.fold}'

model = dict(decode_head=dict(num_classes=61))
