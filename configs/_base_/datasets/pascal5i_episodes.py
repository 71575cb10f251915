# PASCAL-5i, episodes (stage 2) as MSANet and BAM train and test.
_base_ = ['./pascal5i.py', './episodes.py']

size = 473  # side of the network's input
image_mean = (103.53, 116.28, 123.675)  # BGR; fills what rotation and crop leave empty

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

train_dataloader = dict(dataset=dict(dataset=_base_.train_data, **train_pipelines))
val_dataloader = test_dataloader = dict(dataset=dict(dataset=_base_.val_data, **test_pipelines))
