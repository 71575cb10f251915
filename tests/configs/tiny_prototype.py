# A method of the tests that learns nothing, on the backbone of tiny_base.py.
_base_ = './tiny_1shot.py'

work_dir = f'{_base_.work_root}/tiny_prototype/{_base_.run_name}'
base_learner = train_dataloader = train_cfg = optim_wrapper = param_scheduler = None
val_dataloader = val_cfg = val_evaluator = None
pretrained = f'{_base_.work_root}/tiny_base/fold{_base_.fold}/base_learner.pth'
model = dict(
    _delete_=True,
    type='FewShotSegmentor',
    data_preprocessor=dict(type='EpisodeDataPreProcessor', **_base_.normalization),
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=pretrained, prefix='backbone'), **_base_.backbone),
    decode_head=dict(type='PrototypeHead'),
)
