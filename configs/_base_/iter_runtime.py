# Runtime of trainings that are counted in iterations and whose last weights are the result, as their authors have it.
_base_ = './default_runtime.py'

default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=1000, save_best=None),
    published=dict(use_best=False),
)

log_processor = dict(by_epoch=False)
