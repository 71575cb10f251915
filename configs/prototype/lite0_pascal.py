# The training-free prototype on PASCAL-5i: EfficientNet-Lite0, 257x257 images. --shots K, --fold N.
_base_ = [
    '../_base_/models/lite0_backbone.py',
    '../_base_/datasets/pascal5i_lite_episodes.py',
    '../_base_/default_runtime.py',
]
work_dir = f'{_base_.work_root}/prototype/lite0_pascal/{_base_.run_name}'
model = dict(
    type='FewShotSegmentor',
    data_preprocessor=dict(type='EpisodeDataPreProcessor', **_base_.preprocessing),
    backbone=_base_.backbone,
    decode_head=dict(type='PrototypeHead'),
)
# Nothing is trained: test data only.
train_dataloader = val_dataloader = val_evaluator = None
test_cfg = dict(type='TestLoop')
