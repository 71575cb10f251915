# PANet on PASCAL-5i for machines without a GPU, two classes a query. Weights that were trained with one class fit too.
_base_ = './lite0_pascal_1shot.py'

ways = 2
work_dir = f'{_base_.work_root}/panet/lite0_pascal_2way_1shot/{_base_.run_name}'
model = dict(type='NWaySegmentor', data_preprocessor=dict(type='NWayDataPreProcessor'))

n_way = dict(type='NWayEpisodicDataset', ways=ways)
train_steps = [dict(type='LoadFewShotImage'), dict(type='LoadNWayAnnotations'), *_base_.augmentation]
train_dataloader = dict(
    dataset=dict(**n_way, class_power=None, query_pipeline=train_steps, support_pipeline=train_steps)
)
test_pipelines = dict(
    # The query is scored at its original size: its annotation is loaded after the resizing.
    query_pipeline=[
        dict(type='LoadFewShotImage'),
        dict(type='ResizeLongSide', size=_base_.size),
        dict(type='LoadNWayAnnotations'),
        dict(type='PackEpisodeInputs'),
    ],
    support_pipeline=[
        dict(type='LoadFewShotImage'),
        dict(type='LoadNWayAnnotations'),
        dict(type='ResizeLongSide', size=_base_.size),
        dict(type='PackEpisodeInputs'),
    ],
)
val_dataloader = dict(
    dataset=dict(
        **n_way,
        **test_pipelines,
        protocol=dict(_delete_=True, type='PanetProtocol', runs=1, episodes=120, seed=1, min_images=14),
    )
)
test_dataloader = dict(
    dataset=dict(
        **n_way,
        **test_pipelines,
        protocol=dict(_delete_=True, type='PanetProtocol', runs=3, episodes=300, seed=0, min_images=14),
    )
)
val_evaluator = test_evaluator = dict(_delete_=True, type='NWayIoUMetric')
visualizer = dict(type='NWayEpisodeVisualizer')
