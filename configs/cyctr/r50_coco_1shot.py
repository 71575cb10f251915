# CyCTR, ResNet-50, COCO-20i, 1-shot.
_base_ = [
    '../_base_/models/cyctr_r50.py',
    '../_base_/datasets/coco20i_cyctr_episodes.py',
    '../_base_/schedules/coco_cyctr.py',
    '../_base_/protocols/cyctr.py',
    '../_base_/default_runtime.py',
]
work_dir = f'{_base_.work_root}/cyctr/r50_coco_1shot/{_base_.run_name}'
