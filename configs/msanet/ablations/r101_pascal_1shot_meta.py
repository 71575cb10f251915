# The meta learner alone: no base head, no ensemble. The backbone is still stage 1's.
_base_ = '../r101_pascal_1shot.py'
work_dir = f'{_base_.work_root}/msanet/ablations/r101_pascal_1shot_meta/{_base_.run_name}'

model = dict(
    _delete_=True,
    type='FewShotSegmentor',
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=_base_.model.backbone,
    decode_head=_base_.model.decode_head,
    base_checkpoint=_base_.model.base_checkpoint,
)
