# MSANet on PASCAL-5i for machines without a GPU, on stored features: the backbone sees each image twice, not anew in
# each episode (docs/performance.md says what differs).
_base_ = './lite0_pascal_1shot.py'
work_dir = f'{_base_.work_root}/msanet/lite0_pascal_1shot_stored/{_base_.run_name}'
train_cfg = dict(feature_store=dict(folder=f'{_base_.work_root}/feature_store', views=2))
