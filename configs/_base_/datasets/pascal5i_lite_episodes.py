# PASCAL-5i, episodes (stage 2) for machines without a GPU: small images, balanced episodes.
# A 5-shot config names this file's 1-shot config as its base and says:
#   shots = 5
#   train_dataloader = dict(dataset=dict(shots=shots))
#   val_dataloader = dict(dataset=dict(shots=shots))
#   test_dataloader = dict(dataset=dict(shots=shots))
fold = int('{{$FOLD:0}}')  # --fold
data_root = '{{$MMFSS_DATA_ROOT:data/VOCdevkit/VOC2012}}'  # --data-root
# An image is a candidate of a class that covers at least so many pixels: --candidate-area
candidate_area = int('{{$MMFSS_CANDIDATE_AREA:2048}}')
shots = 1
# VOC2012's own train.txt holds 1,464 images; the published list of 5,953 adds SBD's.
train_list = '{{$MMFSS_TRAIN_LIST:ImageSets/Segmentation/train.txt}}'
val_list = 'ImageSets/Segmentation/val.txt'

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
train_query_pipeline = [
    dict(type='LoadFewShotImage'),
    dict(type='LoadFewShotAnnotations', with_base=True),
    *augmentation,
]
train_support_pipeline = [dict(type='LoadFewShotImage'), dict(type='LoadFewShotAnnotations'), *augmentation]
# The query is scored at its original size: its annotation is loaded after the resizing.
test_query_pipeline = [
    dict(type='LoadFewShotImage'),
    dict(type='ResizeLongSide', size=size),
    dict(type='LoadFewShotAnnotations'),
    dict(type='PackEpisodeInputs'),
]
# A support's annotation must lie on its features: loaded before.
test_support_pipeline = [
    dict(type='LoadFewShotImage'),
    dict(type='LoadFewShotAnnotations'),
    dict(type='ResizeLongSide', size=size),
    dict(type='PackEpisodeInputs'),
]

total_batch_size = 4  # of one step, divided among the processes
train_dataloader = dict(
    batch_size=total_batch_size,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='EpisodicDataset',
        shots=shots,
        class_power=0.5,  # rare classes more often than they occur: few photos hold few kinds of things
        dataset=dict(
            type='Pascal5iDataset',
            data_root=data_root,
            ann_file=train_list,
            fold=fold,
            phase='train',
            candidate_area=candidate_area,
        ),
        query_pipeline=train_query_pipeline,
        support_pipeline=train_support_pipeline,
    ),
)

val_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='EpisodicDataset',
        shots=shots,
        dataset=dict(
            type='Pascal5iDataset',
            data_root=data_root,
            ann_file=val_list,
            fold=fold,
            phase='val',
            candidate_area=candidate_area,
        ),
        protocol=dict(type='BalancedProtocol', runs=1, episodes=120, seed=1, min_images=14),
        query_pipeline=test_query_pipeline,
        support_pipeline=test_support_pipeline,
    ),
)

test_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='EpisodicDataset',
        shots=shots,
        dataset=dict(
            type='Pascal5iDataset',
            data_root=data_root,
            ann_file=val_list,
            fold=fold,
            phase='val',
            candidate_area=candidate_area,
        ),
        protocol=dict(type='BalancedProtocol', runs=3, episodes=300, seed=0, min_images=14),
        support_control=None,  # 'wrong_novel' or 'base': supports of a wrong class
        episodes_file=None,  # a frozen list instead of the protocol's draws
        query_pipeline=test_query_pipeline,
        support_pipeline=test_support_pipeline,
    ),
)

val_evaluator = dict(type='FewShotIoUMetric')
test_evaluator = dict(type='FewShotIoUMetric')
