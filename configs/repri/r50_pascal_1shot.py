# RePRI, ResNet-50, PASCAL-5i, 1-shot.
_base_ = [
    '../_base_/models/repri_r50.py',
    '../_base_/datasets/pascal5i_repri_episodes.py',
    '../_base_/protocols/repri.py',
    '../_base_/default_runtime.py',
]
work_dir = f'{_base_.work_root}/repri/r50_pascal_1shot/{_base_.run_name}'

base_learner = dict(
    config='configs/repri/base_r50_pascal.py',
    checkpoint=f'{_base_.work_root}/repri/base_r50_pascal/fold{_base_.fold}/base_learner.pth',
)
model = dict(base_checkpoint=base_learner['checkpoint'])
