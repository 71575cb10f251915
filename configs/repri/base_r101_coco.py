# Stage 1 of RePRI, the base learner of configs/repri/r101_coco_*shot.py. The weights of the best base-class mIoU are
# kept; the released ones were chosen by episodes of the novel classes.
_base_ = [
    '../_base_/models/pspnet_r101.py',
    '../_base_/datasets/coco20i_repri_base.py',
    '../_base_/schedules/repri_coco_base.py',
    '../_base_/base_runtime.py',
]
work_dir = f'{_base_.work_root}/repri/base_r101_coco/fold{_base_.fold}'

model = dict(decode_head=dict(num_classes=61, loss_decode=dict(_delete_=True, type='SmoothedCrossEntropyLoss')))
