# BAM, ResNet-101, PASCAL-5i, 1-shot.
_base_ = [
    '../_base_/models/bam_r101.py',
    '../_base_/datasets/pascal5i_episodes.py',
    '../_base_/schedules/pascal_meta.py',
    '../_base_/default_runtime.py',
]
work_dir = f'{_base_.work_root}/bam/r101_pascal_1shot/{_base_.run_name}'

base_learner = dict(
    config='configs/pspnet/r101_pascal.py',
    checkpoint=f'{_base_.work_root}/pspnet/r101_pascal/fold{_base_.fold}/base_learner.pth',
)
model = dict(base_checkpoint=base_learner['checkpoint'])
