# Stage 1, the base learner of configs/msanet/r101_pascal_*shot.py.
_base_ = [
    '../_base_/models/pspnet_r101.py',
    '../_base_/datasets/pascal5i_base.py',
    '../_base_/schedules/pascal_base.py',
    '../_base_/base_runtime.py',
]
work_dir = f'{_base_.work_root}/pspnet/r101_pascal/fold{_base_.fold}'
