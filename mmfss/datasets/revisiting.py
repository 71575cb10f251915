# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The order of an evaluation in which images come again while they are still kept."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence

import numpy as np
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from mmfss.registry import DATA_SAMPLERS

from .episodic_dataset import EpisodicDataset

RECENT = 3  # queries whose supports count as kept; more changes little, and each costs time


def revisiting_order(queries: Sequence, supports: Sequence[Sequence]) -> list[int]:
    """Episodes in an order that a small store of encoded images serves well.

    Episodes of one query stand together, so a query, the larger thing to keep, is encoded once whatever the store
    holds. The next query is the one that shares most supports with the last few: a greedy chain. On simulated lists
    (docs/performance.md) half to two thirds of the supports are computed that sorting by class and query needs.

    Args:
        queries (Sequence): The query of each of E episodes; anything sortable.
        supports (Sequence[Sequence]): The K supports of each, likewise; an image with another mask is another support.

    Returns:
        list[int]: Indices of the episodes, each once.
    """
    groups, holders = defaultdict(list), defaultdict(set)
    for index, (query, own) in enumerate(zip(queries, supports, strict=True)):
        groups[query].append((tuple(own), index))
        for support in own:
            holders[support].add(query)
    members = {query: {s for own, _ in group for s in own} for query, group in groups.items()}
    # Where nothing is shared: a query of the same class before others, as supports name their class first.
    waiting = deque(sorted(groups, key=lambda query: (min(groups[query]), query)))
    order, recent, left = [], deque(maxlen=RECENT), set(groups)
    while left:
        shared = Counter(query for s in set().union(*recent) for query in holders[s])
        if shared:
            query = min(shared, key=lambda q: (-shared[q] / len(members[q]), q))
        else:
            while waiting[0] not in left:
                waiting.popleft()
            query = waiting.popleft()
        left.discard(query)
        for support in members[query]:
            holders[support].discard(query)
        recent.append(members[query])
        order += [index for _, index in sorted(groups[query])]
    return order


@DATA_SAMPLERS.register_module()
class RevisitSampler(Sampler):
    """Evaluation episodes in :func:`revisiting_order`; each process gets a part of it without gaps.

    Results do not depend on it: every episode carries its own run and number.

    Args:
        dataset (EpisodicDataset): Of fixed episodes.
        seed (int, optional): Not used; mmengine gives it to every sampler.

    Raises:
        TypeError: When the data set is none of episodes.
        ValueError: When its episodes are drawn anew each time.
    """

    def __init__(self, dataset: EpisodicDataset, seed: int | None = None) -> None:
        if not isinstance(dataset, EpisodicDataset):
            raise TypeError(
                f'RevisitSampler orders the episodes of an EpisodicDataset, not of {type(dataset).__name__}: use '
                "sampler=dict(type='DefaultSampler', shuffle=False)"
            )
        if dataset.training:
            raise ValueError(
                'RevisitSampler orders fixed episodes; in training they are drawn anew: use '
                "sampler=dict(type='DefaultSampler', shuffle=True)"
            )
        order = revisiting_order(*dataset.images_of_episodes())
        rank, processes = get_dist_info()
        parts = np.array_split(order, processes)
        # Shorter parts repeat an episode, which stands where mmengine cuts the joined results off.
        self._indices = parts[rank].tolist() + order[: len(parts[0]) - len(parts[rank])]

    def __iter__(self) -> Iterator[int]:
        """Indices of the episodes of this process."""
        return iter(self._indices)

    def __len__(self) -> int:
        """Their number, the same in every process."""
        return len(self._indices)

    def set_epoch(self, epoch: int) -> None:
        """Nothing: the order is always the same."""
