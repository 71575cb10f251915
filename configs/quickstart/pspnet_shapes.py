# Stage 1 of the quickstart: the base learner on the base classes of the generated shapes.
_base_ = ['../_base_/models/lite0_backbone.py', '../_base_/schedules/lite_base.py', '../_base_/base_runtime.py']
fold = int('{{$FOLD:0}}')  # --fold
data_root = '{{$MMFSS_DATA_ROOT:data/shapes}}'  # --data-root
work_dir = f'{_base_.work_root}/pspnet_shapes/fold{fold}'

size = 128
train_pipeline = [
    dict(type='LoadFewShotImage'),
    dict(type='mmseg.LoadAnnotations'),
    dict(type='RandomScale', ratio_range=(0.75, 1.5)),
    dict(type='mmseg.RandomRotate', prob=0.5, degree=10, pad_val=(104.0, 116.0, 124.0), seg_pad_val=255),
    dict(type='mmseg.RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ForegroundCrop', crop_size=size, keep=0),
    dict(type='mmseg.PackSegInputs'),
]
test_pipeline = [dict(type='LoadFewShotImage'), dict(type='mmseg.LoadAnnotations'), dict(type='mmseg.PackSegInputs')]
source = dict(type='ShapesDataset', data_root=data_root, fold=fold, labels='base', image_filter='none')
total_batch_size = 16  # of one step, divided among the processes
train_dataloader = dict(
    batch_size=total_batch_size,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(ann_file='ImageSets/Segmentation/train.txt', phase='train', pipeline=train_pipeline, **source),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(ann_file='ImageSets/Segmentation/val.txt', phase='val', pipeline=test_pipeline, **source),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='mmseg.IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator

model = dict(
    type='mmseg.EncoderDecoder',
    data_preprocessor=dict(
        type='mmseg.SegDataPreProcessor', pad_val=0, seg_pad_val=255, size=(size, size), **_base_.preprocessing
    ),
    backbone=_base_.backbone,
    decode_head=_base_.base_head,
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)

max_epochs = 6
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [dict(type='PolyLR', power=0.9, begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
