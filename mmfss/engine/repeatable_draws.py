# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Random draws of a training that follow from its seed and from how far it is, and from nothing else.

A training that goes on from a checkpoint then draws what the undisturbed one would have drawn, with no random state in
the checkpoint: worker processes have states of their own, which nobody can save.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from torch.utils.data import Dataset, Sampler

from mmfss.registry import DATA_SAMPLERS, DATASETS, HOOKS
from mmfss.utils.random_states import random_states_kept


class NumberedIndex(int):
    """Index of an item, which knows its ``place`` in the training: (epoch, number within the epoch)."""

    place: tuple[int, int]


class _Forwarding:
    """Has the attributes of the object that it wraps, which is in the attribute ``_wrapped``."""

    def __getattr__(self, name: str) -> Any:
        if name == '_wrapped' or name.startswith('__'):  # while it is copied or pickled
            raise AttributeError(name)
        return getattr(self._wrapped, name)


@DATA_SAMPLERS.register_module()
class NumberingSampler(_Forwarding, Sampler):
    """A sampler whose indices say the how many-th of an epoch they are.

    Args:
        sampler (dict): The sampler that chooses.
        dataset (Sized): What it samples.
        seed (int, optional): Of the sampler.
    """

    def __init__(self, sampler: dict, dataset, seed: int | None = None) -> None:
        self._wrapped = DATA_SAMPLERS.build(sampler, default_args=dict(dataset=dataset, seed=seed))
        self._epoch = self._number = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch begins, from 0."""
        self._epoch, self._number = epoch, 0
        if hasattr(self._wrapped, 'set_epoch'):
            self._wrapped.set_epoch(epoch)

    def __iter__(self) -> Iterator[NumberedIndex]:
        for index in self._wrapped:
            numbered = NumberedIndex(index)
            numbered.place = self._epoch, self._number
            self._number += 1
            yield numbered

    def __len__(self) -> int:
        return len(self._wrapped)

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        return partial(self._skip, found) if name == 'skip' else found  # mmengine asks whether a sampler has it

    def _skip(self, skip: Callable[[int], None], samples: int) -> None:
        skip(samples)
        self._number = samples


@DATASETS.register_module()
class RepeatableDraws(_Forwarding, Dataset):
    """A training set that makes each item with random numbers of its own.

    They follow from the seed and from the item's place in the training; the random states of the process are as before
    when the item is made. How many workers there are makes no difference.

    Args:
        dataset (dict | Dataset): The training set.
        seed (int): Another one for each process of a distributed training.
    """

    def __init__(self, dataset, seed: int) -> None:
        self._wrapped = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self._seed = seed

    @property
    def wrapped(self) -> Dataset:
        """The training set."""
        return self._wrapped

    def around(self, dataset: Dataset) -> 'RepeatableDraws':
        """The same random numbers for another training set."""
        return RepeatableDraws(dataset, self._seed)

    def __len__(self) -> int:
        return len(self._wrapped)

    def __getitem__(self, index: int) -> Any:
        if not isinstance(index, NumberedIndex):
            return self._wrapped[index]
        with random_states_kept():
            seed_cpu((self._seed, *index.place))
            return self._wrapped[int(index)]


def seed_cpu(key: Sequence[int]) -> None:
    """Seed the random states of Python, NumPy and torch's CPU from whole numbers, each differently."""
    python, numpy_, torch_ = (int(word) for word in np.random.SeedSequence(key).generate_state(3))
    random.seed(python)
    np.random.seed(numpy_)
    torch.default_generator.manual_seed(torch_)


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Seeds what the model draws in an iteration, such as dropout, by the number of the iteration."""

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed this process, its GPUs included."""
        seed_cpu((runner.seed, runner.iter))
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(torch.initial_seed())


def repeatable(dataloader: Mapping, seed: int) -> dict:
    """The config of a training's data loader with repeatable draws.

    Args:
        dataloader (Mapping): With ``dataset`` and ``sampler``.
        seed (int): Of this process.
    """
    return {
        **dataloader,
        'dataset': dict(type=RepeatableDraws, dataset=dataloader['dataset'], seed=seed),
        'sampler': dict(type=NumberingSampler, sampler=dataloader['sampler']),
    }
