# PASCAL-5i, background and base classes of a fold (stage 1) for machines without a GPU: small images.
_base_ = './pascal5i_base.py'

# VOC2012's own 1,464 images are enough for a first look. For the published list of 5,953 set MMFSS_TRAIN_LIST to
# ImageSets/Segmentation/train_5953.txt.
train_list = '{{$MMFSS_TRAIN_LIST:ImageSets/Segmentation/train.txt}}'

crop_size = 257
image_mean = (127.0, 127.0, 127.0)  # BGR; fills what rotation and crop leave empty

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
    dict(type='mmseg.Resize', scale=(257, 257), keep_ratio=True),
    dict(type='mmseg.LoadAnnotations'),
    dict(type='mmseg.PackSegInputs'),
]

total_batch_size = 8  # of one step, divided among the processes
train_dataloader = dict(
    batch_size=total_batch_size, num_workers=2, dataset=dict(ann_file=train_list, pipeline=train_pipeline)
)
val_dataloader = test_dataloader = dict(num_workers=2, dataset=dict(pipeline=test_pipeline))
