# PASCAL-5i, background and base classes of a fold (stage 1) as BAM trains its base learner.
_base_ = ['./pascal5i.py', './base_learner.py']

test_pipeline = [
    dict(type='LoadFewShotImage'),
    dict(type='mmseg.Resize', scale=(473, 473), keep_ratio=True),
    dict(type='mmseg.LoadAnnotations'),
    dict(type='mmseg.PackSegInputs'),
]

train_dataloader = dict(dataset=_base_.train_data)
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=test_pipeline, **_base_.val_data))
