# HSNet, VGG16, PASCAL-5i, 1-shot.
_base_ = [
    '../_base_/models/hsnet_vgg16.py',
    '../_base_/datasets/pascal5i_hsnet_episodes.py',
    '../_base_/schedules/hsnet.py',
    '../_base_/protocols/hsnet.py',
    '../_base_/default_runtime.py',
]
work_dir = f'{_base_.work_root}/hsnet/vgg16_pascal_1shot/{_base_.run_name}'
