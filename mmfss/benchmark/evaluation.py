# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Evaluation from files to metric: few images that come again, as a thousand episodes of a validation list do."""

import copy
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import nn

from mmfss.engine.runner import FewShotRunner

from .competitors import Competitor, Own
from .episodes import write_images
from .models import Setup, build_model, read_config, set_precision
from .timing import Run


class OneAtATime(nn.Module):
    """A peer as mmengine's test loop sees it: preprocessing and predictions at original size are those of ours.

    Args:
        peer (Competitor): Gives the scores.
        own (nn.Module): A segmentor.
    """

    def __init__(self, peer: Competitor, own: nn.Module):
        super().__init__()
        self.data_preprocessor = own.data_preprocessor
        self.peer, self.attach = peer, own.attach_predictions

    def test_step(self, data: dict) -> list:
        """A step of mmengine's test loop."""
        data = self.data_preprocessor(data, False)
        inputs = data['inputs']
        return self.attach(self.peer.scores(inputs), inputs['query'].shape[-2:], data['data_samples'])


@contextmanager
def evaluation_images(setup: Setup, count: int) -> Iterator[dict]:
    """Config of a data set of synthetic images, in a folder that is removed at the end."""
    with tempfile.TemporaryDirectory() as folder:
        yield write_images(Path(folder, 'images'), count, setup.size, setup.share, setup.seed)


def evaluation_rounds(setup: Setup, dataset: dict, episodes: int) -> Callable[[Competitor, int], Run]:
    """Prepares evaluations.

    Args:
        setup (Setup): What is measured.
        dataset (dict): Config of :func:`evaluation_images`.
        episodes (int): Of an evaluation.

    Returns:
        Callable: (competitor, number of the round) -> an evaluation of a model that has seen none of the images, whose
        call returns the metrics.
    """
    cfg = _config(setup, dataset, episodes)
    own = build_model(setup)

    def prepare(one: Competitor, number: int) -> Run:
        if isinstance(one, Own):  # a copy with an empty store
            return _runner(cfg, set_precision(copy.deepcopy(own), one.precision)).test
        one.train(False)
        return _runner(_one_at_a_time(cfg), OneAtATime(one, own)).test

    return prepare


def _config(setup: Setup, dataset: dict, episodes: int) -> Config:
    cfg = read_config(setup)
    loader = cfg.test_dataloader
    loader.dataset.update(
        dataset=dataset, shots=setup.shots, protocol=dict(type='BalancedProtocol', runs=1, episodes=episodes, seed=0)
    )
    for field in ('support_control', 'episodes_file'):
        loader.dataset.pop(field, None)
    return cfg


def _one_at_a_time(cfg: Config) -> Config:
    cfg = copy.deepcopy(cfg)
    cfg.test_dataloader.batch_size = 1
    return cfg


def _runner(cfg: Config, model: nn.Module) -> FewShotRunner:
    """A runner of the test loop for a model that has its weights."""
    work_dir = cfg.test_dataloader.dataset.dataset.data_root
    runner = FewShotRunner(
        model=model,
        work_dir=f'{work_dir}/work_dir',
        test_dataloader=cfg.test_dataloader,
        test_evaluator=cfg.test_evaluator,
        test_cfg=cfg.get('test_cfg') or dict(),
        custom_hooks=cfg.get('custom_hooks'),
        log_level='ERROR',
        default_scope='mmfss',
        experiment_name=f'benchmark_{id(model)}',
    )
    MMLogger.get_current_instance().setLevel(logging.ERROR)
    runner._has_loaded = True  # the weights are in the model
    return runner
