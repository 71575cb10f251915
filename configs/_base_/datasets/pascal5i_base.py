# PASCAL-5i, background and base classes of a fold (stage 1) as BAM trains its base learner.
fold = int('{{$FOLD:0}}')  # --fold
data_root = '{{$MMFSS_DATA_ROOT:data/VOCdevkit/VOC2012}}'  # --data-root
# VOC2012's own train.txt holds 1,464 images; the published list of 5,953 adds SBD's.
train_list = '{{$MMFSS_TRAIN_LIST:ImageSets/Segmentation/train.txt}}'
val_list = 'ImageSets/Segmentation/val.txt'

crop_size = 417
image_mean = (103.53, 116.28, 123.675)  # BGR; fills what rotation and crop leave empty

# Novel classes are background here: `labels='base'` relabels when annotations are loaded. All
# images of the list are used, those with novel classes too.
train_pipeline = [
    dict(type='LoadFewShotImage'),
    dict(type='mmseg.LoadAnnotations'),
    dict(type='RandomScale', ratio_range=(0.5, 2.0)),
    dict(type='mmseg.RandomRotate', prob=0.5, degree=10, pad_val=image_mean, seg_pad_val=255),
    dict(type='RandomGaussianBlur', prob=0.5, kernel=5),
    dict(type='mmseg.RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ForegroundCrop', crop_size=crop_size, keep=0, pad_val=image_mean),
    dict(type='mmseg.PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadFewShotImage'),
    dict(type='mmseg.Resize', scale=(473, 473), keep_ratio=True),
    dict(type='mmseg.LoadAnnotations'),
    dict(type='mmseg.PackSegInputs'),
]

# Images a step over all processes: tools/train.py divides them, 8 processes get 2 each.
total_batch_size = 12
train_dataloader = dict(
    batch_size=total_batch_size,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,  # a last batch of one image would break BatchNorm on 1x1 features
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='Pascal5iDataset',
        data_root=data_root,
        ann_file=train_list,
        fold=fold,
        phase='train',
        labels='base',
        image_filter='none',
        pipeline=train_pipeline,
    ),
)

val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='Pascal5iDataset',
        data_root=data_root,
        ann_file=val_list,
        fold=fold,
        phase='val',
        labels='base',
        image_filter='none',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='mmseg.IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
