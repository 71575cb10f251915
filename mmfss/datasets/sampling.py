# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""How training episodes are drawn: each time again, from NumPy's global random state.

It is seeded for each item (mmfss/engine/repeatable_draws.py). Evaluation episodes are fixed instead: see protocols.py.
"""

import logging

import numpy as np
from mmengine.logging import print_log

from .few_shot_dataset import FewShotSegDataset


class ImageSampler:
    """Every image once an epoch, as published methods do.

    Draw i takes image i as the query, one of its phase's classes that occur in it (any area) uniformly, and K distinct
    candidates of that class other than the query. Classes with fewer than K + 1 candidates are left out.

    Args:
        data (FewShotSegDataset): Its lists are read already.
        shots (int): K.

    Raises:
        ValueError: When no class has enough candidates.
    """

    def __init__(self, data: FewShotSegDataset, shots: int) -> None:
        self.data, self.shots = data, shots
        self._candidates, few = {}, []
        for class_id in data.phase_class_ids:
            found = data.candidates(class_id)
            if len(found) > shots:
                self._candidates[class_id] = found
            elif len(found):
                few.append(f'{data.class_names[class_id]} ({len(found)})')
        if few:
            print_log(
                f'{shots}-shot episodes need {shots + 1} candidate images of a '
                f'class; training on fold {data.fold} leaves out {", ".join(few)}.',
                'current',
                logging.WARNING,
            )
        self._queries = np.flatnonzero(data.shows(self.class_ids))
        if not len(self._queries):
            raise ValueError(
                f'No class of fold {data.fold} has {shots + 1} candidate images '
                f'for {shots}-shot training: take fewer shots, more data or a '
                f'smaller `candidate_area` (now {data.candidate_area}).'
            )

    def __len__(self) -> int:
        return len(self._queries)

    @property
    def class_ids(self) -> tuple[int, ...]:
        """The classes that are drawn, ascending."""
        return tuple(self._candidates)

    def query_pairs(self) -> set[tuple[int, int]]:
        """All (position in the whole list, class id) that :meth:`draw` may give as query and class."""
        present = {i: self.data.get_data_info(i)['class_ids'] for i in self._queries.tolist()}
        return {(self.data.position(i), c) for i, ids in present.items() for c in ids if c in self._candidates}

    def support_pairs(self) -> set[tuple[int, int]]:
        """Likewise of supports: the candidates of each class."""
        return {(self.data.position(i), c) for c, found in self._candidates.items() for i in found}

    def draw(self, index: int) -> tuple[int, int, list[int]]:
        """An episode.

        Args:
            index (int): 0 to the length - 1.

        Returns:
            tuple: Class id, position of the query and positions of the K supports in the data's whole list.
        """
        class_id, query = self._class_and_query(index)
        others = self._candidates[class_id]
        others = others[others != query]
        supports = np.random.choice(others, self.shots, replace=False)
        return class_id, self.data.position(query), [self.data.position(i) for i in supports]

    def _class_and_query(self, index: int) -> tuple[int, int]:
        query = self._queries[index]
        present = [c for c in self.data.class_ids_at(self.data.position(query)) if c in self._candidates]
        return present[np.random.randint(len(present))], query


class ClassSampler(ImageSampler):
    """A class first, then one of its n candidates as the query: rare classes more often than they occur.

    Args:
        data (FewShotSegDataset): Its lists are read already.
        shots (int): K.
        power (float): A class is drawn with probability n**power: 0 all equally often, 1 as often as it has images.
    """

    def __init__(self, data: FewShotSegDataset, shots: int, power: float) -> None:
        super().__init__(data, shots)
        weights = np.array([len(found) for found in self._candidates.values()], dtype=float) ** power
        self._odds = weights / weights.sum()

    def query_pairs(self) -> set[tuple[int, int]]:
        """See :class:`ImageSampler`: the candidates of each class, as for supports."""
        return self.support_pairs()

    def _class_and_query(self, index: int) -> tuple[int, int]:
        class_id = int(np.random.choice(self.class_ids, p=self._odds))
        return class_id, np.random.choice(self._candidates[class_id])


class PairSampler(ImageSampler):
    """Every pair of a class and one of its candidates once an epoch, as HSNet and its followers train on PASCAL-5i.

    Args:
        data (FewShotSegDataset): Its lists are read already.
        shots (int): K.
    """

    def __init__(self, data: FewShotSegDataset, shots: int) -> None:
        super().__init__(data, shots)
        self._pairs = sorted((int(i), c) for c, found in self._candidates.items() for i in found)

    def __len__(self) -> int:
        return len(self._pairs)

    def query_pairs(self) -> set[tuple[int, int]]:
        """See :class:`ImageSampler`: the candidates of each class, as for supports."""
        return self.support_pairs()

    def _class_and_query(self, index: int) -> tuple[int, int]:
        query, class_id = self._pairs[index]
        return class_id, query


def training_sampler(
    data: FewShotSegDataset, shots: int, class_power: float | None = None, every_pair: bool = False
) -> ImageSampler:
    """The sampler that the arguments of an EpisodicDataset name."""
    if every_pair:
        return PairSampler(data, shots)
    return ImageSampler(data, shots) if class_power is None else ClassSampler(data, shots, class_power)


def check_draws(class_power: float | None, every_pair: bool, *, training: bool) -> None:
    """Refuse arguments of an EpisodicDataset that contradict each other.

    Raises:
        ValueError: When both say how training draws, or either does in an evaluation.
    """
    for name, given in (('class_power', class_power is not None), ('every_pair', every_pair)):
        if given and not training:
            raise ValueError(
                f'`{name}` is about training: an evaluation has a `protocol` or an '
                '`episodes_file` that says which class is drawn.'
            )
    if class_power is not None and every_pair:
        raise ValueError('`class_power` draws a class first, `every_pair` takes all in turn: give one of them.')
