# CyCTR, ResNet-101, COCO-20i, 1-shot: not published.
_base_ = [
    '../_base_/models/cyctr_r101.py',
    '../_base_/datasets/coco20i_cyctr_episodes.py',
    '../_base_/schedules/coco_cyctr.py',
    '../_base_/protocols/cyctr.py',
    '../_base_/default_runtime.py',
]
work_dir = f'{_base_.work_root}/cyctr/r101_coco_1shot/{_base_.run_name}'
