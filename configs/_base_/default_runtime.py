# What every run of stage 2 has: hooks, logs, pictures, processes. Stage 1 uses base_runtime.py.
default_scope = 'mmfss'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=True),
    # The learning rate of a step is the same whether its gradients are accumulated or not.
    param_scheduler=dict(type='AccumulationSchedulerHook'),
    # The two latest and the best checkpoint; a full disk destroys neither.
    checkpoint=dict(
        type='SafeCheckpointHook', by_epoch=True, interval=1, max_keep_ckpts=2, save_best='mIoU', rule='greater'
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # One BatchNorm statistic for all processes before they evaluate and save.
    sync_buffers=dict(type='SyncBuffersHook'),
    # Refuses checkpoints of another backbone, other classes or another fold.
    checkpoint_guard=dict(type='CheckpointGuardHook'),
    # Test results as JSON beside the log.
    result_file=dict(type='ResultFileHook'),
    # Stops at the first loss or gradient that is not finite; non_finite.json names the batch.
    finite=dict(type='FiniteTrainingHook'),
    # The best weights under a fixed name, for configs that go on from them.
    published=dict(type='MetaLearnerCheckpointHook'),
    # Sheets of some validation episodes; of test episodes with tools/test.py --show-dir.
    visualization=dict(type='EpisodeVisualizationHook'),
)

# TensorBoard: `pip install tensorboard` and one more line in this list:
#   dict(type='TensorboardVisBackend'),
# No `name` here: each of the two stages needs a visualizer of its own.
visualizer = dict(
    type='EpisodeVisualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
    ],
)

log_processor = dict(type='LogProcessor', by_epoch=True, window_size=20)
log_level = 'INFO'

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # Machines without a GPU get gloo by themselves. A process that answers no more for so many seconds ends the run.
    dist_cfg=dict(backend='nccl', timeout=600),
)

# Ranks draw different augmentations; weights and sampling order are the same on all.
randomness = dict(seed=0, diff_rank_seed=True)

load_from = None
resume = False
