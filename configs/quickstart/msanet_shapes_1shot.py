# Stage 2 of the quickstart: MSANet on the generated shapes, tested on classes it never saw.
_base_ = ['../_base_/models/lite0_backbone.py', '../_base_/schedules/lite_meta.py', '../_base_/default_runtime.py']
fold = int('{{$FOLD:0}}')  # --fold
shots = int('{{$SHOTS:1}}')  # --shots
run_name = f'fold{fold}' if shots == 1 else f'fold{fold}_{shots}shot'
data_root = '{{$MMFSS_DATA_ROOT:data/shapes}}'  # --data-root
work_dir = f'{_base_.work_root}/msanet_shapes_1shot/{run_name}'
base_learner = dict(
    config='configs/quickstart/pspnet_shapes.py',
    checkpoint=f'{_base_.work_root}/pspnet_shapes/fold{fold}/base_learner.pth',
)

size = 128
protocol_size = size  # protocols (--protocol) keep it
candidate_area = 320  # of 128 x 128: every image is a candidate of all its classes
augmentation = [
    dict(type='RandomScale', ratio_range=(0.9, 1.25)),
    dict(type='mmseg.RandomRotate', prob=0.5, degree=10, pad_val=(104.0, 116.0, 124.0), seg_pad_val=255),
    dict(type='mmseg.RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ForegroundCrop', crop_size=size, keep=0.85),
    dict(type='PackEpisodeInputs'),
]
test_pipeline = [
    dict(type='LoadFewShotImage'),
    dict(type='LoadFewShotAnnotations'),
    dict(type='ResizeLongSide', size=size),
    dict(type='PackEpisodeInputs'),
]
source = dict(type='ShapesDataset', data_root=data_root, fold=fold, candidate_area=candidate_area)
total_batch_size = 8  # of one step, divided among the processes
train_dataloader = dict(
    batch_size=total_batch_size,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='EpisodicDataset',
        shots=shots,
        dataset=dict(ann_file='ImageSets/Segmentation/train.txt', phase='train', **source),
        query_pipeline=[
            dict(type='LoadFewShotImage'),
            dict(type='LoadFewShotAnnotations', with_base=True),
            *augmentation,
        ],
        support_pipeline=[dict(type='LoadFewShotImage'), dict(type='LoadFewShotAnnotations'), *augmentation],
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='RevisitSampler'),
    dataset=dict(
        type='EpisodicDataset',
        shots=shots,
        dataset=dict(ann_file='ImageSets/Segmentation/val.txt', phase='val', **source),
        protocol=dict(type='BalancedProtocol', runs=1, episodes=100, seed=1),
        query_pipeline=[
            dict(type='LoadFewShotImage'),
            dict(type='ResizeLongSide', size=size),
            dict(type='LoadFewShotAnnotations'),
            dict(type='PackEpisodeInputs'),
        ],
        support_pipeline=test_pipeline,
    ),
)
test_dataloader = dict(val_dataloader)
test_dataloader['dataset'] = dict(
    val_dataloader['dataset'], protocol=dict(type='BalancedProtocol', runs=3, episodes=200, seed=0)
)
val_evaluator = dict(type='FewShotIoUMetric')
test_evaluator = dict(type='FewShotIoUMetric')

model = dict(
    type='BaseLearnerEnsemble',
    data_preprocessor=dict(type='EpisodeDataPreProcessor', **_base_.preprocessing),
    backbone=_base_.backbone,
    decode_head=dict(type='MSANetHead', channels=96, similarity_channels=32, dilations=(2, 4, 6)),
    base_head=_base_.base_head,
    # Floors that need no training, measured on the same episodes.
    comparison_heads=dict(prototype=dict(type='PrototypeHead'), prior=dict(type='PriorMaskHead', threshold=0.5)),
    base_checkpoint=base_learner['checkpoint'],
)

max_epochs = 5
param_scheduler = [dict(type='PolyLR', power=0.9, begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
