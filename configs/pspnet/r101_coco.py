# Stage 1, the base learner of configs/msanet/r101_coco_*shot.py.
_base_ = [
    '../_base_/models/pspnet_r101.py',
    '../_base_/datasets/coco20i_base.py',
    '../_base_/schedules/coco_base.py',
    '../_base_/base_runtime.py',
]
work_dir = f'{_base_.work_root}/pspnet/r101_coco/fold{_base_.fold}'

model = dict(decode_head=dict(num_classes=61))
