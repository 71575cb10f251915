# PASCAL-5i as PANet uses it, two classes a query.
_base_ = './pascal5i_panet_episodes.py'

ways = 2
n_way = dict(type='NWayEpisodicDataset', ways=ways)
train_steps = [dict(type='LoadFewShotImage'), dict(type='LoadNWayAnnotations'), *_base_.train_steps]
test_pipelines = dict(
    query_pipeline=[
        dict(type='LoadFewShotImage'),
        dict(type='LoadNWayAnnotations'),
        dict(type='SquashResize', size=_base_.size),
        dict(type='ScoreAtNetworkSize'),
        dict(type='PackEpisodeInputs'),
    ],
    support_pipeline=[
        dict(type='LoadFewShotImage'),
        dict(type='LoadNWayAnnotations'),
        dict(type='SquashResize', size=_base_.size),
        dict(type='PackEpisodeInputs'),
    ],
)

train_dataloader = dict(
    dataset=dict(**n_way, class_power=None, query_pipeline=train_steps, support_pipeline=train_steps)
)
val_dataloader = test_dataloader = dict(dataset=dict(**n_way, **test_pipelines))
val_evaluator = test_evaluator = dict(type='NWayIoUMetric')
