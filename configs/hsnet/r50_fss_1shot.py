# HSNet, ResNet-50, FSS-1000, 1-shot.
_base_ = [
    '../_base_/models/hsnet_r50.py',
    '../_base_/datasets/fss1000_hsnet_episodes.py',
    '../_base_/schedules/hsnet.py',
    '../_base_/protocols/hsnet.py',
    '../_base_/default_runtime.py',
]
work_dir = f'{_base_.work_root}/hsnet/r50_fss_1shot/{_base_.run_name}'
