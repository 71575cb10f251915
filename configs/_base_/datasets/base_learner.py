# What stage 1 shares on every data set: background and the base classes of a fold, as BAM trains its base learner. The
# data set's own file (pascal5i_base.py, coco20i_base.py) adds the images and the size of the validation.
fold = int('{{$FOLD:0}}')  # --fold

crop_size = 417
image_mean = (103.53, 116.28, 123.675)  # BGR; fills what rotation and crop leave empty

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

# Images a step over all processes: tools/train.py divides them, 8 processes get 2 each.
total_batch_size = 12
# Novel classes are background here: `labels='base'` relabels when annotations are loaded. All
# images of the list are used, those with novel classes too.
train_dataloader = dict(
    batch_size=total_batch_size,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,  # a last batch of one image would break BatchNorm on 1x1 features
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(phase='train', fold=fold, labels='base', image_filter='none', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(phase='val', fold=fold, labels='base', image_filter='none'),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='mmseg.IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
