# ASGNet, ResNet-101, PASCAL-5i, 1-shot.
_base_ = [
    '../_base_/models/asgnet_r101.py',
    '../_base_/datasets/pascal5i_pfenet_episodes.py',
    '../_base_/schedules/pascal_pfenet.py',
    '../_base_/protocols/asgnet.py',
    '../_base_/default_runtime.py',
]
work_dir = f'{_base_.work_root}/asgnet/r101_pascal_1shot/{_base_.run_name}'
val_dataloader = dict(dataset=dict(protocol=dict(episodes=2000, seed=321)))  # chooses the published checkpoint
