# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Named by test_lost_process.py: a process that fails in the middle of a training."""

from mmengine.dist import get_rank
from mmengine.hooks import Hook

from mmfss.registry import HOOKS


@HOOKS.register_module()
class FailingRankHook(Hook):
    """Raises in process 1 at the fifth iteration."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if get_rank() == 1 and runner.iter == 5:
            raise RuntimeError('process 1 has had enough')
