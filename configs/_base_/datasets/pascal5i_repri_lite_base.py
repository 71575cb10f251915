# PASCAL-5i, background and base classes of a fold (stage 1) as RePRI trains on them, for machines without a GPU.
_base_ = './pascal5i_repri_base.py'

# VOC2012's own 1,464 images are enough for a first look. For the published list of 5,953 set MMFSS_TRAIN_LIST to
# ImageSets/Segmentation/train_5953.txt.
train_list = '{{$MMFSS_TRAIN_LIST:ImageSets/Segmentation/train.txt}}'

size = 257  # side of the network's input

train_pipeline = [
    dict(type='LoadFewShotImage'),
    dict(type='mmseg.LoadAnnotations'),
    dict(type='mmseg.RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='mmseg.RandomFlip', prob=0.5, direction='vertical'),
    dict(type='ResizeLongSide', size=size),
    dict(type='mmseg.PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadFewShotImage'),
    dict(type='mmseg.LoadAnnotations'),
    dict(type='ResizeLongSide', size=size),
    dict(type='ScoreAtNetworkSize'),
    dict(type='mmseg.PackSegInputs'),
]

total_batch_size = 8  # of one step, divided among the processes
train_dataloader = dict(
    batch_size=total_batch_size, num_workers=2, dataset=dict(ann_file=train_list, pipeline=train_pipeline)
)
val_dataloader = test_dataloader = dict(num_workers=2, dataset=dict(pipeline=test_pipeline))
