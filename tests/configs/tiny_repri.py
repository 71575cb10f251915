# A method of the tests that learns nothing beside the base learner of tiny_base.py.
_base_ = './tiny_1shot.py'

work_dir = f'{_base_.work_root}/tiny_repri/{_base_.run_name}'
train_dataloader = train_cfg = optim_wrapper = param_scheduler = None
val_dataloader = val_cfg = val_evaluator = None
model = dict(
    _delete_=True,
    type='FewShotSegmentor',
    data_preprocessor=dict(type='EpisodeDataPreProcessor', **_base_.normalization),
    backbone=_base_.backbone,
    neck=dict(type='BaseLearnerNeck', base_head=_base_.base_head),
    decode_head=dict(type='RePRIHead', recipe=dict(iterations=20)),
    base_checkpoint=_base_.base_learner['checkpoint'],
)
