# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The protocols: how evaluation episodes are drawn.

An evaluation episode is a pure function of (protocol, seed, run, episode number): never of a
global random state, of worker count, rank or batch size.
"""

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from mmengine.logging import print_log

from mmfss.registry import TASK_UTILS

from .episodes import Episode


class KeyedRandom:
    """Random choices keyed by integers, the same on every machine and with every NumPy.

    NumPy promises stable streams for its bit generators only, not for ``Generator.choice``; so
    choices are made from the raw 64-bit words here.

    Args:
        *key (int): What the choices depend on, for example (seed, run, episode).
        purpose (int): Separates independent uses of one key.
    """

    def __init__(self, *key: int, purpose: int = 0) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key, spawn_key=(purpose,)))

    def index(self, n: int) -> int:
        """A number of 0..n-1 (uniform up to 2**-64)."""
        return int(self._bits.random_raw()) * n >> 64

    def choice(self, items: Sequence):
        """One of the items."""
        return items[self.index(len(items))]

    def sample(self, items: Sequence, k: int) -> list:
        """``k`` distinct items in random order."""
        moved, chosen = {}, []  # the first k steps of a Fisher-Yates shuffle of the places
        for i in range(k):
            j = i + self.index(len(items) - i)
            chosen.append(moved.get(j, j))
            moved[j] = moved.get(i, i)
        return [items[place] for place in chosen]


class AllBut(Sequence):
    """Ascending items without one of them, without copying thousands for every episode."""

    def __init__(self, items: Sequence, left_out) -> None:
        place = bisect_left(items, left_out)
        self._items = items
        self._there = place < len(items) and items[place] == left_out
        self._place = place if self._there else len(items)

    def __len__(self) -> int:
        return len(self._items) - self._there

    def __getitem__(self, i: int):
        return self._items[i + (i >= self._place)]


class EpisodeProtocol:
    """How evaluation episodes are drawn: a subclass says which query and class come next.

    Args:
        runs (int): Runs with different draws; results are averaged over them.
        episodes (int): Episodes of one run.
        seed (int): Seed of all draws.
        min_images (int): Classes with fewer candidate images are left out. Defaults to 0.

    Attributes:
        name (str): Short name for logs and results.
        missing_classes_as_zero (bool): Whether a class that is never drawn counts as IoU 0.
        distinct_supports (bool): Whether the K supports of an episode differ from each other.
    """

    name = ''
    missing_classes_as_zero = False
    distinct_supports = True

    def __init__(self, *, runs: int, episodes: int, seed: int, min_images: int = 0) -> None:
        if runs < 1 or episodes < 1 or seed < 0:
            raise ValueError(
                f'{type(self).__name__} needs runs >= 1, episodes >= 1 and seed >= 0; '
                f'they are {runs}, {episodes}, {seed}.'
            )
        self.runs, self.episodes, self.seed = runs, episodes, seed
        self.min_images = min_images

    def sample(self, dataset, shots: int) -> list[Episode]:
        """Draw all episodes, run after run.

        Args:
            dataset (FewShotSegDataset): Gives images and candidates.
            shots (int): K.

        Raises:
            ValueError: When a class has candidates, but too few for K supports and a query.
        """
        classes = self._drawable(dataset, shots)
        self.prepare(dataset, classes)
        pools = {c: dataset.support_positions(c).tolist() for c in classes}
        drawn = []
        for run in range(self.runs):
            for episode in range(self.episodes):
                draw = KeyedRandom(self.seed, run, episode)
                query, class_id = self.next_query(run, episode, draw)
                place = dataset.position(query)
                others = AllBut(pools[class_id], place)
                if self.distinct_supports:
                    supports = draw.sample(others, shots)
                else:
                    supports = [draw.choice(others) for _ in range(shots)]
                name, *supports = (dataset.name(i) for i in (place, *supports))
                drawn.append(Episode(run, episode, dataset.class_names[class_id], name, tuple(supports)))
        return drawn

    def eval_classes(self, dataset) -> tuple[int, ...]:
        """Classes that results are about, ascending: all of the phase but what ``min_images`` leaves out.

        A class without any image stays in, and is reported as never drawn.
        """
        return tuple(c for c in dataset.phase_class_ids if len(dataset.candidates(c)) >= self.min_images)

    def _drawable(self, dataset, shots: int) -> tuple[int, ...]:
        """The evaluated classes that have images; refuses classes with too few."""
        names, fold = dataset.class_names, dataset.fold
        counts = {c: len(dataset.candidates(c)) for c in dataset.phase_class_ids}
        kept = tuple(c for c in self.eval_classes(dataset) if counts[c])
        needed = shots + 1 if self.distinct_supports else 2
        usable = {c: self._usable(dataset, c) for c in kept}
        few = [f'{names[c]} ({n})' for c, n in usable.items() if n < needed]
        if few:
            raise ValueError(
                f'{shots}-shot episodes need {needed} candidate images of a class (K supports and '
                f'a query); fold {fold} has fewer of: {", ".join(few)}. Leave such classes out '
                f'with `min_images={needed}` of {type(self).__name__}, take fewer shots, or lower '
                f'`candidate_area` (now {dataset.candidate_area}).'
            )
        if not kept:
            found = ', '.join(f'{names[c]} {n}' for c, n in counts.items())
            raise ValueError(
                f'No class of fold {fold} has {max(self.min_images, 1)} candidate '
                f'images (`min_images` of {type(self).__name__}): {found}.'
            )
        out = [f'{names[c]} ({n})' for c, n in counts.items() if 0 < n < self.min_images]
        if out:
            print_log(
                f'Fold {fold}: classes with fewer than {self.min_images} candidate images '
                f'are left out of the episodes: {", ".join(out)}.',
                'current',
            )
        return kept

    @staticmethod
    def _usable(dataset, class_id: int) -> int:
        """Images of a class of which one can be the query and all others its supports."""
        pool, queries = dataset.support_positions(class_id), dataset.candidates(class_id)
        apart = not np.isin([dataset.position(i) for i in queries], pool).any()  # supports come from other images
        return len(pool) + apart

    def prepare(self, dataset, classes: tuple[int, ...]) -> None:
        """Look up whatever :meth:`next_query` needs."""
        raise NotImplementedError

    def next_query(self, run: int, episode: int, draw: KeyedRandom) -> tuple[int, int]:
        """(index of the query in the data set, class id) of an episode."""
        raise NotImplementedError


@TASK_UTILS.register_module()
class BamProtocol(EpisodeProtocol):
    """BAM's and MSANet's protocol: the list in order, cycled; a class of the image at random.

    A query may hold its class at any size; supports are candidates.
    """

    name = 'bam'
    missing_classes_as_zero = True

    def __init__(self, *, runs: int = 5, episodes: int = 1000, seed: int = 123, min_images: int = 0) -> None:
        super().__init__(runs=runs, episodes=episodes, seed=seed, min_images=min_images)

    def prepare(self, dataset, classes: tuple[int, ...]) -> None:
        present = [dataset.class_ids_at(dataset.position(i)) for i in range(len(dataset))]
        present = [tuple(c for c in ids if c in classes) for ids in present]
        self._queries = [(i, ids) for i, ids in enumerate(present) if ids]

    def next_query(self, run: int, episode: int, draw: KeyedRandom) -> tuple[int, int]:
        query, class_ids = self._queries[episode % len(self._queries)]
        return query, draw.choice(class_ids)


@TASK_UTILS.register_module()
class PfenetProtocol(BamProtocol):
    """PFENet's: as BAM, one run of 5,000 (PASCAL) or 20,000 (COCO) episodes."""

    name = 'pfenet'

    def __init__(self, *, runs: int = 1, episodes: int = 5000, seed: int = 321, min_images: int = 0) -> None:
        super().__init__(runs=runs, episodes=episodes, seed=seed, min_images=min_images)


@TASK_UTILS.register_module()
class CyctrProtocol(BamProtocol):
    """CyCTR's: as BAM, one run of 1,000 (PASCAL) or 5,000 (COCO) episodes."""

    name = 'cyctr'

    def __init__(self, *, runs: int = 1, episodes: int = 1000, seed: int = 123, min_images: int = 0) -> None:
        super().__init__(runs=runs, episodes=episodes, seed=seed, min_images=min_images)


@TASK_UTILS.register_module()
class AsgnetProtocol(BamProtocol):
    """ASGNet's: as BAM, one run of 1,000 (PASCAL) or 20,000 (COCO) episodes."""

    name = 'asgnet'

    def __init__(self, *, runs: int = 1, episodes: int = 1000, seed: int = 321, min_images: int = 0) -> None:
        super().__init__(runs=runs, episodes=episodes, seed=seed, min_images=min_images)


@TASK_UTILS.register_module()
class HdmnetProtocol(BamProtocol):
    """HDMNet's: as BAM, ten runs of 1,000 (PASCAL) or 10,000 (COCO) episodes."""

    name = 'hdmnet'

    def __init__(self, *, runs: int = 10, episodes: int = 1000, seed: int = 123, min_images: int = 0) -> None:
        super().__init__(runs=runs, episodes=episodes, seed=seed, min_images=min_images)


@TASK_UTILS.register_module()
class RepriProtocol(BamProtocol):
    """RePRI's: BAM's episodes; a class that is never drawn is left out of the mean."""

    name = 'repri'
    missing_classes_as_zero = False


@TASK_UTILS.register_module()
class HsnetProtocol(EpisodeProtocol):
    """HSNet's sampling (VAT, DCAMA, Matcher ...): supports of an episode may repeat.

    The published image lists differ slightly from the area rule used here.

    Args:
        order (str): 'list' cycles through all (image, class) pairs (PASCAL); 'class' draws a class
            uniformly, then one of its images (COCO).
        **kwargs: See :class:`EpisodeProtocol`.
    """

    name = 'hsnet'
    distinct_supports = False

    def __init__(
        self, *, order: str = 'list', runs: int = 1, episodes: int = 1000, seed: int = 0, min_images: int = 0
    ) -> None:
        super().__init__(runs=runs, episodes=episodes, seed=seed, min_images=min_images)
        if order not in ('list', 'class'):
            raise ValueError(f"`order` must be 'list' or 'class', is {order!r}.")
        self.order = order

    def prepare(self, dataset, classes: tuple[int, ...]) -> None:
        self._images = {c: dataset.candidates(c).tolist() for c in classes}
        self._pairs = sorted((i, c) for c, images in self._images.items() for i in images)

    def next_query(self, run: int, episode: int, draw: KeyedRandom) -> tuple[int, int]:
        if self.order == 'list':
            return self._pairs[episode % len(self._pairs)]
        class_id = draw.choice(list(self._images))
        return draw.choice(self._images[class_id]), class_id


@TASK_UTILS.register_module()
class BalancedProtocol(EpisodeProtocol):
    """Ours: every class equally often, every candidate of a class equally often as its query.

    Classes take turns (the run shifts who is first, so that remainders even out); the candidates
    of a class follow a permutation of their own in each run.
    """

    name = 'balanced'

    def __init__(self, *, runs: int = 5, episodes: int = 1000, seed: int = 0, min_images: int = 0) -> None:
        super().__init__(runs=runs, episodes=episodes, seed=seed, min_images=min_images)

    def prepare(self, dataset, classes: tuple[int, ...]) -> None:
        self._classes = classes
        self._queries = {}
        for run in range(self.runs):
            for c in classes:
                images = dataset.candidates(c).tolist()
                order = KeyedRandom(self.seed, run, c, purpose=1).sample(images, len(images))
                self._queries[run, c] = order

    def next_query(self, run: int, episode: int, draw: KeyedRandom) -> tuple[int, int]:
        turn, place = divmod(episode, len(self._classes))
        class_id = self._classes[(place + run) % len(self._classes)]
        queries = self._queries[run, class_id]
        return queries[turn % len(queries)], class_id
