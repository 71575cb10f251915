# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The very episodes behind HSNet's and VAT's published numbers, for whoever has the authors' lists."""

import os
from collections import Counter

import numpy as np

from mmfss.registry import TASK_UTILS

from .episodes import Episode
from .listings import read_lines
from .protocols import HsnetProtocol


@TASK_UTILS.register_module()
class ReleasedHsnetProtocol(HsnetProtocol):
    """:class:`HsnetProtocol` with the draws of the released samplers: NumPy's legacy generator, one draw after another.

    The released test has no loader workers, so its draws follow from the lists alone. Each is the first element of a
    permutation: of the class's images as they are listed, drawn again where it is the query; with ``order='class'``
    first of the novel classes, then of the query's images. A class that is never drawn counts as IoU 0.

    Args:
        pairs (str, optional): The authors' list of (image, class) pairs, ``NAME__NUMBER`` a line with classes counted
            from 1; ``{fold}`` in the path is the fold. Defaults to None: the candidates of the area rule by name, which
            are nearly the same.
        **kwargs: See :class:`HsnetProtocol`.
    """

    missing_classes_as_zero = True

    def __init__(self, *, pairs: str | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.pairs = pairs

    def sample(self, dataset, shots: int) -> list[Episode]:
        """See :class:`EpisodeProtocol`."""
        pairs = self._pairs_of(dataset, shots)
        images = {c: [] for c in sorted({c for _, c in pairs})}
        for name, class_id in pairs:
            images[class_id].append(name)
        classes, random = list(images), np.random.RandomState(self.seed)  # its streams never change

        def draw(items: list):
            return items[random.permutation(len(items))[0]]

        episodes = []
        for run in range(self.runs):
            for i in range(self.episodes):
                if self.order == 'list':
                    query, class_id = pairs[i % len(pairs)]
                else:
                    class_id = draw(classes)
                    query = draw(images[class_id])
                supports = []
                while len(supports) < shots:
                    name = draw(images[class_id])
                    supports += [name] if name != query else []
                episodes.append(Episode(run, i, dataset.class_names[class_id], query, tuple(supports)))
        return episodes

    def _pairs_of(self, dataset, shots: int) -> list[tuple[str, int]]:
        """(image, class) in the order in which they are asked for."""
        if self.pairs is not None:
            return read_pairs(self.pairs.format(fold=dataset.fold), dataset.phase_class_ids)
        found = [(i, c) for c in self._drawable(dataset, shots) for i in dataset.candidates(c).tolist()]
        return sorted((dataset.name(dataset.position(i)), c) for i, c in found)


def read_pairs(path: str | os.PathLike, classes: tuple[int, ...]) -> list[tuple[str, int]]:
    """A released list of pairs, in its order.

    Args:
        path (str | os.PathLike): Text, ``NAME__NUMBER`` a line.
        classes (tuple[int, ...]): The numbers that may occur.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When a line is no pair, a class is another fold's, or a class has a single image.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'There is no list of pairs {path}; `pairs` of ReleasedHsnetProtocol names one.')
    pairs = []
    for line in read_lines(path):
        name, _, number = line.rpartition('__')
        if not name or not number.isdecimal() or int(number) not in classes:
            raise ValueError(f'{path}: {line!r} is no NAME__NUMBER with a class of this fold, {list(classes)}.')
        pairs.append((name, int(number)))
    counts = Counter(class_id for _, class_id in pairs)
    if few := [c for c, n in counts.items() if n < 2]:
        raise ValueError(f'{path}: the class {few[0]} has one image only, a query and a support are needed.')
    if not pairs:
        raise ValueError(f'{path} is empty.')
    return pairs
