# Stage 2 of the tests: two short epochs.
_base_ = ['./tiny_data.py', '../../configs/_base_/default_runtime.py', '../../configs/_base_/schedules/lite_meta.py']

shots = int('{{$SHOTS:1}}')
run_name = f'fold{_base_.fold}' if shots == 1 else f'fold{_base_.fold}_{shots}shot'
protocol_size = 64
work_dir = f'{_base_.work_root}/tiny_1shot/{run_name}'

base_learner = dict(
    config='tests/configs/tiny_base.py', checkpoint=f'{_base_.work_root}/tiny_base/fold{_base_.fold}/base_learner.pth'
)

max_epochs = 2
param_scheduler = [dict(type='PolyLR', power=0.9, begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=max_epochs)

train_pipeline = [
    dict(type='LoadFewShotImage'),
    dict(type='LoadFewShotAnnotations', with_base=True),
    dict(type='mmseg.RandomFlip', prob=0.5),
    dict(type='PackEpisodeInputs'),
]
support_pipeline = [
    dict(type='LoadFewShotImage'),
    dict(type='LoadFewShotAnnotations'),
    dict(type='PackEpisodeInputs'),
]
query_pipeline = [
    dict(type='LoadFewShotImage'),
    dict(type='SquashResize', size=64),
    dict(type='LoadFewShotAnnotations'),
    dict(type='PackEpisodeInputs'),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='EpisodicDataset',
        dataset=_base_.source,
        shots=shots,
        query_pipeline=train_pipeline,
        support_pipeline=support_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='RevisitSampler'),
    dataset=dict(
        type='EpisodicDataset',
        dataset=dict(phase='val', **_base_.source),
        shots=shots,
        protocol=dict(type='BalancedProtocol', runs=2, episodes=15, seed=0),
        query_pipeline=query_pipeline,
        support_pipeline=support_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='FewShotIoUMetric')
test_evaluator = val_evaluator

model = dict(
    type='BaseLearnerEnsemble',
    data_preprocessor=dict(type='EpisodeDataPreProcessor', **_base_.normalization),
    backbone=_base_.backbone,
    decode_head=dict(type='MSANetHead', channels=16, similarity_channels=8, dilations=(1, 2, 3)),
    comparison_heads=dict(prototype=dict(type='PrototypeHead')),
    base_head=_base_.base_head,
    # Weighted, or so short a training only learns to say "background".
    loss_decode=dict(type='mmseg.CrossEntropyLoss', class_weight=[1.0, 4.5]),
    base_checkpoint=base_learner['checkpoint'],
)
