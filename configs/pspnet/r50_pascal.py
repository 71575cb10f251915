# Stage 1, the base learner of configs/msanet/r50_pascal_*shot.py.
_base_ = [
    '../_base_/models/pspnet_r50.py',
    '../_base_/datasets/pascal5i_base.py',
    '../_base_/schedules/pascal_base.py',
    '../_base_/base_runtime.py',
]
work_dir = f'{_base_.work_root}/pspnet/r50_pascal/fold{_base_.fold}'
