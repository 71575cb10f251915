# COCO-20i (FWB folds), episodes (stage 2) as MSANet and BAM train and test.
# A 5-shot config names this file's 1-shot config as its base and says:
#   shots = 5
#   train_dataloader = dict(dataset=dict(shots=shots))
#   val_dataloader = dict(dataset=dict(shots=shots))
#   test_dataloader = dict(dataset=dict(shots=shots))
fold = int('{{$FOLD:0}}')  # --fold
data_root = '{{$MMFSS_DATA_ROOT:data/coco}}'  # --data-root
# An image is a candidate of a class that covers at least so many pixels: --candidate-area
candidate_area = int('{{$MMFSS_CANDIDATE_AREA:2048}}')
shots = 1

size = 641  # side of the network's input
image_mean = (103.53, 116.28, 123.675)  # BGR; fills what rotation and crop leave empty

augmentation = [
    dict(type='RandomScale', ratio_range=(0.8, 1.25)),
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

# Episodes a step over all processes: tools/train.py divides them, 8 processes get 1 each.
total_batch_size = 8
train_dataloader = dict(
    batch_size=total_batch_size,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='EpisodicDataset',
        shots=shots,
        dataset=dict(
            type='COCO20iDataset', data_root=data_root, fold=fold, phase='train', candidate_area=candidate_area
        ),
        query_pipeline=train_query_pipeline,
        support_pipeline=train_support_pipeline,
    ),
)

val_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='EpisodicDataset',
        shots=shots,
        dataset=dict(type='COCO20iDataset', data_root=data_root, fold=fold, phase='val', candidate_area=candidate_area),
        protocol=dict(type='BamProtocol', runs=1, episodes=1000, seed=123),
        query_pipeline=test_query_pipeline,
        support_pipeline=test_support_pipeline,
    ),
)

test_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='EpisodicDataset',
        shots=shots,
        dataset=dict(type='COCO20iDataset', data_root=data_root, fold=fold, phase='val', candidate_area=candidate_area),
        protocol=dict(type='BamProtocol', runs=5, episodes=1000, seed=123),
        support_control=None,  # 'wrong_novel' or 'base': supports of a wrong class
        episodes_file=None,  # a frozen list instead of the protocol's draws
        query_pipeline=test_query_pipeline,
        support_pipeline=test_support_pipeline,
    ),
)

val_evaluator = dict(type='FewShotIoUMetric')
test_evaluator = dict(type='FewShotIoUMetric')
