# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Named by tests/configs/tiny_ranks.py: lets a test look into each process."""

from pathlib import Path

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import nn

from mmfss.registry import HOOKS


@HOOKS.register_module()
class RankDumpHook(Hook):
    """Writes each process's trained weights and what data it saw to ``rank<N>.pth``."""

    def __init__(self):
        self.seen = []

    def before_train(self, runner):
        self.start = {name: weight.clone() for name, weight in self.model(runner).state_dict().items()}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen += [sample.img_path for sample in data_batch['data_samples']['query']]

    def after_train(self, runner):
        state = dict(seen=self.seen, start=self.start, weights=self.model(runner).state_dict())
        torch.save(state, Path(runner.work_dir) / f'rank{get_rank()}.pth')

    @staticmethod
    def model(runner):
        return runner.model.module if is_model_wrapper(runner.model) else runner.model


@HOOKS.register_module()
class NoDropoutHook(Hook):
    """Switches dropout off: its draws would depend on how a step is divided into batches."""

    def before_train(self, runner):
        for module in runner.model.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):
                module.p = 0.0
