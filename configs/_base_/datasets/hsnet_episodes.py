# What HSNet's episodes of every data set share: squashed images, no augmentation, validation on episodes of the fold
# that is tested. The data set's own file (pascal5i_hsnet_episodes.py, ...) adds the images and the draws.
_base_ = './episodes.py'

size = 400  # side of the network's input; any aspect is squashed to a square
squash = dict(type='SquashResize', size=size, antialias=True)

# No augmentation, and the query is scored as the network sees it. 255 in a support is background.
query_pipeline = [dict(type='LoadFewShotImage'), dict(type='LoadFewShotAnnotations'), squash]
support_pipeline = [
    dict(type='LoadFewShotImage'),
    dict(type='LoadFewShotAnnotations', keep_ignore=False),
    squash,
    dict(type='PackEpisodeInputs'),
]
train_pipelines = dict(
    query_pipeline=[*query_pipeline, dict(type='PackEpisodeInputs')], support_pipeline=support_pipeline
)
test_pipelines = dict(
    query_pipeline=[*query_pipeline, dict(type='ScoreAtNetworkSize'), dict(type='PackEpisodeInputs')],
    support_pipeline=support_pipeline,
)

total_batch_size = 20  # over all processes
train_dataloader = dict(
    batch_size=total_batch_size,
    # Images in which novel classes occur stay, as background.
    dataset=dict(dataset=dict(exclude_novel=False), **train_pipelines),
)
# Checkpoints are chosen by 1,000 1-shot episodes of the classes that are tested, as published.
protocol = dict(_delete_=True, type='HsnetProtocol', order='list', runs=1, episodes=1000, seed=0)
val_dataloader = test_dataloader = dict(dataset=dict(protocol=protocol, **test_pipelines))
