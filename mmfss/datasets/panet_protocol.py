# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""PANet's protocol (Wang et al. 2019, and its released code): classes first, one or more a query, then their images."""

import random

from mmfss.registry import TASK_UTILS

from .episodes import Episode
from .n_way_episodes import NWayEpisode
from .protocols import EpisodeProtocol


@TASK_UTILS.register_module()
class PanetProtocol(EpisodeProtocol):
    """W distinct classes uniformly, then K distinct images of each, and one more of the class that gives the query.

    Which of the W classes that is, is drawn once a run. The draws are those of the released code, Python's ``random``
    seeded by seed + run: on its class lists they give its very episodes. Here a class's list has the order of the image
    list. Candidates are images in which the class covers ``candidate_area``, 1 in the configs of PANet.
    """

    name = 'panet'

    def __init__(self, *, runs: int = 5, episodes: int = 1000, seed: int = 1234, min_images: int = 0) -> None:
        super().__init__(runs=runs, episodes=episodes, seed=seed, min_images=min_images)

    def sample(self, dataset, shots: int) -> list[Episode]:
        """See :class:`EpisodeProtocol`: episodes of one class."""
        return [
            Episode(e.run, e.episode, e.class_names[0], e.query, e.supports[0])
            for e in self.sample_ways(dataset, shots, ways=1)
        ]

    def sample_ways(self, dataset, shots: int, ways: int) -> list[NWayEpisode]:
        """Draw all episodes of several classes, run after run.

        Args:
            dataset (FewShotSegDataset): Gives images and candidates.
            shots (int): K.
            ways (int): W.

        Raises:
            ValueError: When there are fewer classes than W, or a class has too few candidates.
        """
        classes = self._drawable(dataset, shots)
        if len(classes) < ways:
            raise ValueError(
                f'{ways}-way episodes need {ways} classes with images; fold {dataset.fold} has {len(classes)}'
            )
        pools = [dataset.support_positions(c).tolist() for c in classes]
        return [e for run in range(self.runs) for e in self._run(dataset, classes, pools, run, shots, ways)]

    def _run(self, dataset, classes, pools, run: int, shots: int, ways: int) -> list[NWayEpisode]:
        draw = random.Random(self.seed + run)
        query_way = draw.choices(range(ways), k=1)[0]
        found = []
        for episode in range(self.episodes):
            chosen = draw.sample(range(len(classes)), k=ways)
            names = []
            for way, place in enumerate(chosen):
                images = draw.sample(range(len(pools[place])), k=shots + (way == query_way))
                names.append([dataset.name(pools[place][i]) for i in images])
            query = names[query_way].pop()
            class_names = tuple(dataset.class_names[classes[place]] for place in chosen)
            found.append(NWayEpisode(run, episode, class_names, query_way, query, tuple(map(tuple, names))))
        return found
