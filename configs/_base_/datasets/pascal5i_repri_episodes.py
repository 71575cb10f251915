# PASCAL-5i, test episodes as RePRI judges them: 417 pixels, scored at that size. Nothing is trained on episodes.
_base_ = ['./pascal5i_episodes.py', './repri_pipelines.py']

size = _base_.repri_size
test_pipelines = _base_.repri_test_pipelines
train_dataloader = val_dataloader = val_evaluator = None
test_dataloader = dict(dataset=test_pipelines)
test_cfg = dict(type='TestLoop')
