# Stage 1 of the tests: two short epochs.
_base_ = ['./tiny_data.py', '../../configs/_base_/base_runtime.py', '../../configs/_base_/schedules/lite_base.py']

work_dir = f'{_base_.work_root}/tiny_base/fold{_base_.fold}'

max_epochs = 2
param_scheduler = [dict(type='PolyLR', power=0.9, begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=max_epochs)

train_pipeline = [
    dict(type='LoadFewShotImage'),
    dict(type='mmseg.LoadAnnotations'),
    dict(type='mmseg.RandomFlip', prob=0.5),
    dict(type='mmseg.PackSegInputs'),
]
val_pipeline = [
    dict(type='LoadFewShotImage'),
    dict(type='mmseg.LoadAnnotations'),
    dict(type='mmseg.PackSegInputs'),
]

train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(labels='base', image_filter='none', pipeline=train_pipeline, **_base_.source),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(labels='base', image_filter='none', pipeline=val_pipeline, indices=20, **_base_.source),
)
val_evaluator = dict(type='mmseg.IoUMetric', iou_metrics=['mIoU'])
test_dataloader = val_dataloader
test_evaluator = val_evaluator

model = dict(
    type='mmseg.EncoderDecoder',
    data_preprocessor=dict(
        type='mmseg.SegDataPreProcessor', pad_val=0, seg_pad_val=255, size=(64, 64), **_base_.normalization
    ),
    backbone=_base_.backbone,
    decode_head=_base_.base_head,
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
