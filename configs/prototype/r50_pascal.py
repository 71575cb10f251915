# The training-free prototype on PASCAL-5i: ResNet-50. --shots K, --fold N.
_base_ = [
    '../_base_/models/prototype_r50.py',
    '../_base_/datasets/pascal5i_episodes.py',
    '../_base_/default_runtime.py',
]
work_dir = f'{_base_.work_root}/prototype/r50_pascal/{_base_.run_name}'
# Nothing is trained: test data only.
train_dataloader = val_dataloader = val_evaluator = None
test_cfg = dict(type='TestLoop')
