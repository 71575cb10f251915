# PANet, VGG16, PASCAL-5i, 1-shot.
_base_ = [
    '../_base_/models/panet_vgg16.py',
    '../_base_/datasets/pascal5i_panet_episodes.py',
    '../_base_/schedules/panet.py',
    '../_base_/protocols/panet.py',
    '../_base_/iter_runtime.py',
]
work_dir = f'{_base_.work_root}/panet/vgg16_pascal_1shot/{_base_.run_name}'
