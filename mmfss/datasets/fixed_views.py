# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""FixedViews: the training augmentation of each image drawn a fixed number of times, the same on every machine."""

import hashlib
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mmfss.utils.random_states import random_states_kept

from .class_index import content_key
from .episodic_dataset import EpisodicDataset
from .transforms.loading import CorruptFileError

LABELS = dict(gt_sem_seg='labels', gt_base_seg='base_labels', padding_map='padding')  # of a packed sample -> of a view
_NO_SETTINGS = ('with_base',)  # of transforms: labels that only a query has


class FixedViews(Dataset):
    """A view is an image under its training pipeline, with a random state that follows from seed, name and number.

    Where an image holds several classes, a view of it is made for each that it may be drawn for: the crop keeps the
    class in the picture, and some methods mask a support before the last stage. Queries and supports share their views
    where their pipelines differ in nothing but the base labels.

    Item i is ``dict(image=(3, H, W), labels=(1, H, W), base_labels=..., padding=...)`` as packed, without what the
    pipeline does not make; None when a file is corrupt.

    Args:
        episodes (EpisodicDataset): Of a training.
        views (int): Views of an image.
        seed (int): Another seed gives other views.

    Attributes:
        shared (bool): Whether queries and supports have the same views.
    """

    def __init__(self, episodes: EpisodicDataset, views: int, seed: int = 0) -> None:
        self.episodes, self.views, self.seed = episodes, views, seed
        sampler = episodes.sampler
        of_query, of_support = episodes.query_pipeline.transforms, episodes.support_pipeline.transforms
        self.shared = _settings(of_query, _NO_SETTINGS) == _settings(of_support, _NO_SETTINGS)
        queries, supports = sampler.query_pairs(), sampler.support_pairs()
        pairs = [(True, *pair) for pair in sorted(queries | supports if self.shared else queries)]
        if not self.shared:
            pairs += [(False, *pair) for pair in sorted(supports)]
        self.pairs = pairs  # (as a query, position, class id)
        self._place = {pair: i for i, pair in enumerate(pairs)}

    def __len__(self) -> int:
        return len(self.pairs) * self.views

    @property
    def images(self) -> int:
        """How many images there are."""
        return len({position for _, position, _ in self.pairs})

    def row(self, query: bool, position: int, class_id: int, view: int) -> int:
        """Which item a view is.

        Args:
            query (bool): Whether as a query or as a support.
            position (int): Of the image in the whole list.
            class_id (int): For which it is drawn.
            view (int): Its number.
        """
        return self._place[query or self.shared, position, class_id] * self.views + view

    def __getitem__(self, row: int) -> dict[str, Tensor] | None:
        query, position, class_id = self.pairs[row // self.views]
        episodes = self.episodes
        if query:
            results, pipeline = episodes.describe_query(position, class_id), episodes.query_pipeline
        else:
            results, pipeline = episodes.describe_support(position, class_id), episodes.support_pipeline
        try:
            with random_state(self.seed, results['name'], row % self.views):
                packed = pipeline(results)
        except CorruptFileError as error:
            warnings.warn(f'{error} It is left out of the feature store.', RuntimeWarning, stacklevel=2)
            return None
        sample = packed['data_samples']
        found = {name: sample.get(key).data for key, name in LABELS.items() if key in sample}
        return dict(image=packed['inputs'], **found)

    def facts(self) -> dict:
        """Everything that the views follow from, as plain values for a key: names and states of files, pipelines."""
        data, episodes = self.episodes.dataset, self.episodes
        described = {p: data.describe(p) for p in dict.fromkeys(position for _, position, _ in self.pairs)}
        files = [(d['name'], d['img_path'], d['seg_map_path']) for d in described.values()]
        pairs = [(query, described[position]['name'], class_id) for query, position, class_id in self.pairs]
        tables = [d.get('label_table') for d in described.values()]
        return dict(
            views=self.views,
            seed=self.seed,
            query_pipeline=_settings(episodes.query_pipeline.transforms),
            support_pipeline=_settings(episodes.support_pipeline.transforms),
            files=content_key(files),
            pairs=_digest(repr(pairs)),
            base_labels=_digest(_settings([data.base_label_map, tables])),
        )


def views_collate(
    items: Sequence[tuple[int, dict | None]], image_size: Sequence[int] | None = None
) -> tuple[list[int], list[int], dict[str, Tensor]]:
    """Batch of (row, view): rows that could be read, rows that could not, and the maps (N, ...) of the former.

    Args:
        items (Sequence): Of them.
        image_size (Sequence[int], optional): (H, W) that earlier views had.

    Raises:
        ValueError: When views differ in size.
    """
    good = [(row, view) for row, view in items if view is not None]
    sizes = {tuple(view['image'].shape[-2:]) for _, view in good} | ({tuple(image_size)} if image_size else set())
    if len(sizes) > 1:
        raise ValueError(
            f'the training pipeline gives images of different sizes, such as {sorted(sizes)[:2]}; a feature store '
            'needs one size: end `query_pipeline` and `support_pipeline` with a crop or a pad to a fixed size'
        )
    names = {name: None for _, view in good for name in view}
    maps = {n: torch.stack([_of_view(view, n, good) for _, view in good]) for n in names}
    return [row for row, _ in good], [row for row, view in items if view is None], maps


def _of_view(view: Mapping[str, Tensor], name: str, good: Sequence) -> Tensor:
    """A view's map; zeros for base labels of a support that shares its batch with queries."""
    return view[name] if name in view else torch.zeros_like(next(other[name] for _, other in good if name in other))


@contextmanager
def random_state(*key: Any) -> Iterator[None]:
    """The block draws, by NumPy, ``random`` and PyTorch, what follows from the key; the states are put back."""
    seed = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:4], 'big')
    with random_states_kept():
        np.random.seed(seed)
        random.seed(seed)
        torch.manual_seed(seed)
        yield


def _settings(value: Any, without: Sequence[str] = ()) -> str:
    """A text that is equal for values and transforms with equal settings, in every process."""
    if isinstance(value, (np.ndarray, Tensor)):
        array = np.ascontiguousarray(value)
        return f'{array.dtype}{array.shape}{_digest(array.tobytes())}'
    if isinstance(value, Mapping):
        inner = {str(k): _settings(v, without) for k, v in value.items() if k not in without}
        return f'{{{", ".join(f"{k}: {v}" for k, v in sorted(inner.items()))}}}'
    if isinstance(value, (list, tuple)):
        return f'[{", ".join(_settings(v, without) for v in value)}]'
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return repr(value)
    name = getattr(value, '__qualname__', None)  # of a function or class
    if name is not None:
        return f'{value.__module__}.{name}'
    return f'{type(value).__module__}.{type(value).__qualname__}{_settings(vars(value), without)}'


def _digest(value: str | bytes) -> str:
    return hashlib.sha256(value.encode() if isinstance(value, str) else value).hexdigest()[:32]
