# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Refuses checkpoints of another backbone, other classes or another fold."""

import logging
from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import BaseLoop

from mmfss.registry import HOOKS
from mmfss.utils.checkpoint_meta import base_learner_differences, meta_differences
from mmfss.utils.weights import bare_model, model_state, read_checkpoint, refusal, taken_weights, weight_differences


@HOOKS.register_module()
class CheckpointGuardHook(Hook):
    """Compares every checkpoint with the model and the dataset before its weights are used.

    MMEngine loads with ``strict=False``: a checkpoint of another network only leaves a log line and
    random weights. And a checkpoint of another fold has *trained* on this fold's novel classes, so
    its score would mean nothing. Both are errors here.

    Args:
        check_weights (bool): Refuse missing or unexpected weights and other shapes.
        check_classes (bool): Refuse another fold or other classes. Switch it off to test across
            data sets, for example a model trained on COCO on PASCAL.
        ignore (Sequence[str]): Regular expressions of weight names that need not fit.
        new (Sequence[str]): Regular expressions of weight names that may be missing from the weights
            a training starts from; a test needs them all.
    """

    priority = 'VERY_HIGH'

    def __init__(
        self,
        check_weights: bool = True,
        check_classes: bool = True,
        ignore: Sequence[str] = (),
        new: Sequence[str] = (),
    ) -> None:
        self.check_weights = check_weights
        self.check_classes = check_classes
        self.ignore = tuple(ignore)
        self.new = tuple(new)

    def before_run(self, runner) -> None:
        """Where the model starts from a base learner: it must know exactly this fold's base classes.

        That is in training, and in the test of a method that learns nothing and has no checkpoint of its own.

        Raises:
            ValueError: When ``model.base_checkpoint`` was trained on other classes or folds.
        """
        path = runner.cfg.get('model', {}).get('base_checkpoint')
        starts = isinstance(runner._train_loop, BaseLoop) or (runner._load_from is None and not runner._resume)
        if path is None or not self.check_classes or not starts:
            return
        theirs = read_checkpoint(path, hold=True).get('meta', {})  # the model loads it next
        reasons = base_learner_differences(theirs, _dataset_meta(runner) or {})
        if reasons:
            raise ValueError(
                refusal(
                    f'{path} does not fit the base learner',
                    reasons,
                    'Train one for this fold (remove or rename the file and run tools/train.py again) '
                    'or point base_learner.checkpoint and model.base_checkpoint to the right file.',
                )
            )

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Called by the runner with the loaded dict, before any weight is copied.

        Raises:
            ValueError: When the checkpoint does not fit; the message says in which respect.
        """
        model = bare_model(runner.model)
        theirs = checkpoint.get('meta', {}).get('dataset_meta')
        ours = _dataset_meta(runner)
        if self.check_weights:
            ignore = self.ignore + (self.new if isinstance(runner._train_loop, BaseLoop) else ())
            own, found = (taken_weights(model, state) for state in (model.state_dict(), model_state(checkpoint)))
            reasons = weight_differences(own, found, ignore)
            if reasons:
                shots = [side.get('shots') if side else None for side in (theirs, ours)]
                if None not in shots and shots[0] != shots[1]:
                    reasons.insert(0, f'it was trained with {shots[0]} shots, not {shots[1]}')
                reasons += meta_differences(ours, theirs)
                raise ValueError(
                    refusal(
                        f'{_name(runner)} does not fit the model of this config',
                        reasons,
                        'Give the config it was trained with, or list weights that may differ in '
                        'default_hooks.checkpoint_guard.ignore.',
                    )
                )
        if not self.check_classes:
            return
        if theirs is None:
            print_log(
                f'{_name(runner)} does not say on which fold it was trained: make sure that '
                'it has not seen the novel classes.',
                logger='current',
                level=logging.WARNING,
            )
            return
        reasons = meta_differences(ours, theirs)
        if reasons:
            raise ValueError(
                refusal(
                    f'{_name(runner)} does not fit the dataset of this config',
                    reasons,
                    'It may have been trained on classes that count as novel here. Use --fold of the '
                    'training run; for a test across data sets set '
                    'default_hooks.checkpoint_guard.check_classes=False.',
                )
            )


def _dataset_meta(runner) -> dict | None:
    """Metainfo of the dataset the runner is about to use: training first, else test, else val."""
    for loop in (runner._train_loop, runner._test_loop, runner._val_loop):
        if isinstance(loop, BaseLoop):
            return getattr(loop.dataloader.dataset, 'metainfo', None)
    return None


def _name(runner) -> str:
    if runner._load_from is not None:
        return str(runner._load_from)
    return f'the last checkpoint in {runner.work_dir}'
