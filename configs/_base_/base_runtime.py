# Runtime of stage 1: an ordinary mmseg run, which leaves base_learner.pth for stage 2.
_base_ = './default_runtime.py'

default_hooks = dict(
    visualization=dict(_delete_=True, type='mmseg.SegVisualizationHook'),
    published=dict(_delete_=True, type='BaseLearnerCheckpointHook'),
)

visualizer = dict(_delete_=True, type='mmseg.SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
