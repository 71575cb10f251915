# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The learning rate stays as it is while gradients are accumulated."""

from typing import Any

from mmengine.hooks import ParamSchedulerHook

from mmfss.engine.batch_size import accumulated_batches
from mmfss.registry import HOOKS


@HOOKS.register_module()
class AccumulationSchedulerHook(ParamSchedulerHook):
    """mmengine's hook, which moves schedules on only when the optimiser has made a step.

    mmengine moves them on with every batch. With gradients of n batches a step (``accumulative_counts=n``) the rate of
    a step would be that of its last batch; here it is that of its first, the same as of one batch of n times the size.
    Schedules count batches all the same, as the training loop does: after a step they move on by n.
    """

    def after_train_iter(self, runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None) -> None:
        """Catch up after the last batch of a step; the iteration alone says which is the last, after a resume too."""
        batches = accumulated_batches(runner.cfg)
        if (runner.iter + 1) % batches == 0:
            for _ in range(batches):
                super().after_train_iter(runner, batch_idx, data_batch, outputs)
