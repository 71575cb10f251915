# PASCAL-5i, episodes (stage 2) for machines without a GPU: small images, balanced episodes.
_base_ = './pascal5i_episodes.py'

# VOC2012's own 1,464 images are enough for a first look. For the published list of 5,953 set MMFSS_TRAIN_LIST to
# ImageSets/Segmentation/train_5953.txt.
train_list = '{{$MMFSS_TRAIN_LIST:ImageSets/Segmentation/train.txt}}'

size = 257  # side of the network's input
protocol_size = size  # protocols (--protocol) keep it: this network is made for small images
image_mean = (127.0, 127.0, 127.0)  # BGR; fills what rotation and crop leave empty

augmentation = [
    dict(type='RandomScale', ratio_range=(0.9, 1.1)),
    dict(type='mmseg.RandomRotate', prob=0.5, degree=10, pad_val=image_mean, seg_pad_val=255),
    dict(type='RandomGaussianBlur', prob=0.5, kernel=5),
    dict(type='mmseg.RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ForegroundCrop', crop_size=size, keep=0.85, pad_val=image_mean),
    dict(type='PackEpisodeInputs'),
]
train_pipelines = dict(
    query_pipeline=[
        dict(type='LoadFewShotImage'),
        dict(type='LoadFewShotAnnotations', with_base=True),
        *augmentation,
    ],
    support_pipeline=[dict(type='LoadFewShotImage'), dict(type='LoadFewShotAnnotations'), *augmentation],
)
test_pipelines = dict(
    # The query is scored at its original size: its annotation is loaded after the resizing.
    query_pipeline=[
        dict(type='LoadFewShotImage'),
        dict(type='ResizeLongSide', size=size),
        dict(type='LoadFewShotAnnotations'),
        dict(type='PackEpisodeInputs'),
    ],
    # A support's annotation must lie on its features: loaded before.
    support_pipeline=[
        dict(type='LoadFewShotImage'),
        dict(type='LoadFewShotAnnotations'),
        dict(type='ResizeLongSide', size=size),
        dict(type='PackEpisodeInputs'),
    ],
)

total_batch_size = 4  # of one step, divided among the processes
train_dataloader = dict(
    batch_size=total_batch_size,
    num_workers=2,
    # Rare classes more often than they occur: few photos hold few kinds of things.
    dataset=dict(class_power=0.5, dataset=dict(ann_file=train_list), **train_pipelines),
)
val_dataloader = dict(
    num_workers=2,
    dataset=dict(protocol=dict(type='BalancedProtocol', runs=1, episodes=120, seed=1, min_images=14), **test_pipelines),
)
test_dataloader = dict(
    num_workers=2,
    dataset=dict(protocol=dict(type='BalancedProtocol', runs=3, episodes=300, seed=0, min_images=14), **test_pipelines),
)
