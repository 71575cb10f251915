# The training-free prototype on COCO-20i: ResNet-50. --shots K, --fold N.
_base_ = [
    '../_base_/models/prototype_r50.py',
    '../_base_/datasets/coco20i_episodes.py',
    '../_base_/default_runtime.py',
]
work_dir = f'{_base_.work_root}/prototype/r50_coco/{_base_.run_name}'
# Nothing is trained: test data only.
train_dataloader = val_dataloader = val_evaluator = None
test_cfg = dict(type='TestLoop')
