# PANet, VGG16, PASCAL-5i, two classes a query, 1-shot: trained with two classes too.
_base_ = [
    '../_base_/models/panet_vgg16.py',
    '../_base_/datasets/pascal5i_panet_2way_episodes.py',
    '../_base_/schedules/panet.py',
    '../_base_/protocols/panet.py',
    '../_base_/iter_runtime.py',
]
work_dir = f'{_base_.work_root}/panet/vgg16_pascal_2way_1shot/{_base_.run_name}'
model = dict(type='NWaySegmentor', data_preprocessor=dict(type='NWayDataPreProcessor'))
visualizer = dict(type='NWayEpisodeVisualizer')
