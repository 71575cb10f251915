# ASGNet, ResNet-50, COCO-20i, 1-shot.
_base_ = [
    '../_base_/models/asgnet_r50.py',
    '../_base_/datasets/coco20i_pfenet_episodes.py',
    '../_base_/schedules/coco_pfenet.py',
    '../_base_/protocols/asgnet.py',
    '../_base_/default_runtime.py',
]
work_dir = f'{_base_.work_root}/asgnet/r50_coco_1shot/{_base_.run_name}'
model = dict(decode_head=dict(bins=(1.0, 0.5, 0.25, 0.125)))  # shares of the map's height
val_dataloader = dict(dataset=dict(protocol=dict(episodes=20000, seed=321)))  # chooses the published checkpoint
