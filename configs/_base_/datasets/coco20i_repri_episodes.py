# COCO-20i (FWB folds), test episodes as RePRI judges them: 417 pixels, scored at that size. Nothing is trained on
# episodes.
_base_ = './coco20i_episodes.py'

size = 417  # side of the network's input

test_pipelines = dict(
    query_pipeline=[
        dict(type='LoadFewShotImage'),
        dict(type='LoadFewShotAnnotations'),
        dict(type='ResizeLongSide', size=size),
        dict(type='ScoreAtNetworkSize'),
        dict(type='PackEpisodeInputs'),
    ],
    support_pipeline=[
        dict(type='LoadFewShotImage'),
        dict(type='LoadFewShotAnnotations'),
        dict(type='ResizeLongSide', size=size),
        dict(type='PackEpisodeInputs'),
    ],
)
train_dataloader = val_dataloader = val_evaluator = None
test_dataloader = dict(dataset=test_pipelines)
test_cfg = dict(type='TestLoop')
