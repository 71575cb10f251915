# CyCTR, ResNet-50, PASCAL-5i, 1-shot.
_base_ = [
    '../_base_/models/cyctr_r50.py',
    '../_base_/datasets/pascal5i_pfenet_episodes.py',
    '../_base_/schedules/pascal_cyctr.py',
    '../_base_/protocols/cyctr.py',
    '../_base_/default_runtime.py',
]
work_dir = f'{_base_.work_root}/cyctr/r50_pascal_1shot/{_base_.run_name}'
