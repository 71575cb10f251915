# PASCAL-5i, HSNet's episodes for machines without a GPU: small squashed images, no augmentation, scored at their
# original size on balanced episodes.
_base_ = './pascal5i_lite_episodes.py'

squash = dict(type='SquashResize', size=_base_.size, antialias=True)
load = [dict(type='LoadFewShotImage'), dict(type='LoadFewShotAnnotations')]
labels_first = [*load, squash, dict(type='PackEpisodeInputs')]

train_dataloader = dict(dataset=dict(query_pipeline=labels_first, support_pipeline=labels_first))
test_pipelines = dict(
    query_pipeline=[load[0], squash, load[1], dict(type='PackEpisodeInputs')], support_pipeline=labels_first
)
val_dataloader = test_dataloader = dict(dataset=test_pipelines)
