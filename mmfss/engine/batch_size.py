# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""How many episodes or images a step of the optimiser sees, and how many of them a process loads at once."""

import logging
from collections.abc import Mapping

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import print_log


def spread_batch(cfg: Config, processes: int) -> None:
    """Divide the config's ``total_batch_size`` among the processes and the batches of one step.

    The total is what one step of the optimiser sees and what the schedule was made for: 8 episodes
    are a ``train_dataloader.batch_size`` of 8 in one process and of 1 in each of eight, and with
    ``optim_wrapper.accumulative_counts=4`` (gradients of four batches make a step) of 2 in one
    process. A total that does not divide is rounded up, and ``auto_scale_lr`` lets the learning rate
    follow. Configs without ``total_batch_size``, or with None, keep their
    ``train_dataloader.batch_size`` in each process and batch, as in mmseg.

    Args:
        cfg (Config): ``train_dataloader.batch_size`` is set.
        processes (int): Their number.

    Raises:
        ValueError: When ``optim_wrapper.accumulative_counts`` is no whole number of at least 1.
    """
    batches = accumulated_batches(cfg)
    total = cfg.get('total_batch_size')
    if total is None or cfg.get('train_dataloader') is None:
        return
    parts = processes * batches
    given, share = cfg.train_dataloader.get('batch_size', total), -(-total // parts)
    cfg.train_dataloader.batch_size = share
    over = f'{processes} processes' if processes > 1 else 'one process'
    over += f' with {batches} accumulated batches each' if batches > 1 else ''
    if given not in (total, share):
        _warn(
            f'train_dataloader.batch_size={given} becomes {share}: total_batch_size={total} over '
            f'{over} decides. With total_batch_size=None the former counts in '
            'each process, as in mmseg.'
        )
    if share * parts != total:
        _warn(f'total_batch_size={total} does not divide by {over}: {share} in each, {share * parts} a step.')


def accumulated_batches(cfg: Config) -> int:
    """How many batches of the loader make one step of the optimiser: ``optim_wrapper.accumulative_counts``.

    Raises:
        ValueError: When it is no whole number of at least 1.
    """
    batches = (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    if not isinstance(batches, int) or batches < 1:
        raise ValueError(f'optim_wrapper.accumulative_counts is {batches!r}; it must be a whole number of at least 1')
    return batches


def settle_batch_size(cfg: Config, options: Mapping) -> None:
    """Let the one that was given win: a total, or mmseg's batch size of each process.

    Args:
        cfg (Config): The config after the options were merged into it.
        options (Mapping): Their dotted keys, as of ``--cfg-options``.
    """
    if options.get('total_batch_size') is not None:
        cfg.train_dataloader.batch_size = cfg.total_batch_size
    elif 'train_dataloader.batch_size' in options:
        cfg.total_batch_size = None


def _warn(message: str) -> None:
    if is_main_process():
        print_log(message, logger='current', level=logging.WARNING)
