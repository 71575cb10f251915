# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""NWayEpisodicDataset: an item is one query and K supports of each of W classes."""

from collections.abc import Sequence

import numpy as np

from mmfss.registry import DATASETS

from .episodic_dataset import EpisodicDataset
from .few_shot_dataset import FewShotSegDataset
from .n_way_episodes import n_way_hash
from .sampling import ImageSampler

Draw = tuple[list[int], int, int, list[list[int]]]  # class ids (W), the query's way, its position, supports (W, K)


class NWaySampler(ImageSampler):
    """W distinct classes uniformly, one of them for the query, then distinct images of each (PANet).

    Args:
        data (FewShotSegDataset): Its lists are read already.
        shots (int): K.
        ways (int): W.

    Raises:
        ValueError: When fewer than W classes have enough candidates.
    """

    def __init__(self, data: FewShotSegDataset, shots: int, ways: int) -> None:
        super().__init__(data, shots)
        self.ways = ways
        if len(self.class_ids) < ways:
            raise ValueError(
                f'{ways}-way training needs {ways} classes with {shots + 1} candidate images; fold {data.fold} has '
                f'{len(self.class_ids)}. Take fewer `ways` or a smaller `candidate_area` (now {data.candidate_area}).'
            )

    def draw(self, index: int) -> Draw:
        """An episode; the index does not matter.

        Returns:
            tuple: Class ids (W), the way of the query, its position and those of the supports (W, K), in the data's
            whole list.
        """
        class_ids = np.random.choice(self.class_ids, self.ways, replace=False).tolist()
        query_way = int(np.random.randint(self.ways))
        supports = []
        for way, class_id in enumerate(class_ids):
            count = self.shots + (way == query_way)
            drawn = np.random.choice(self._candidates[class_id], count, replace=False)
            supports.append([self.data.position(i) for i in drawn])
        return class_ids, query_way, supports[query_way].pop(), supports


@DATASETS.register_module()
class NWayEpisodicDataset(EpisodicDataset):
    """Episodes of W classes a query; with W = 1 those of :class:`EpisodicDataset` and PANet's protocol.

    An item is ``dict(inputs=dict(query=(3, H, W), support=[W*K x (3, H, W)]),
    data_samples=dict(query=SegDataSample, support=[W*K x SegDataSample]))``, the supports way by way. Label maps hold
    0, 1 + w for the class of way w, and 255; the samples' ``way_class_ids`` say which classes these are and ``way``
    for which one an image was drawn. Pipelines load annotations with ``LoadNWayAnnotations``.

    Args:
        dataset (dict | FewShotSegDataset): Images, masks and candidates.
        ways (int): W. Defaults to 2.
        **kwargs: See :class:`EpisodicDataset`: ``shots``, the pipelines, ``lazy_init``, and ``protocol``, which must
            draw several classes (PanetProtocol). What is about one class is refused: ``support_control``,
            ``episodes_file``, ``support_annotation``, ``class_power``.

    Raises:
        ValueError: When episodes cannot be drawn, or an argument is refused.
    """

    def __init__(self, dataset, *, ways: int = 2, **kwargs) -> None:
        if not isinstance(ways, int) or ways < 1:
            raise ValueError(f'`ways` is {ways!r}; it must be a whole number of at least 1.')
        refused = [
            name
            for name in ('support_control', 'episodes_file', 'support_annotation', 'class_power')
            if kwargs.get(name) is not None
        ]
        if refused:
            raise ValueError(
                f'NWayEpisodicDataset has no {", ".join(f"`{name}`" for name in refused)}: these are about episodes of '
                'one class, of an EpisodicDataset.'
            )
        self.ways = ways
        super().__init__(dataset, **kwargs)

    def _prepare_training(self) -> None:
        self._sampler = NWaySampler(self.dataset, self.shots, self.ways)
        self._eval_class_ids = self._sampler.class_ids
        self._header = dict(protocol=None, missing_classes_as_zero=False)

    def _prepare_evaluation(self) -> None:
        data, protocol = self.dataset, self.protocol
        if not hasattr(protocol, 'sample_ways'):
            raise ValueError(
                f'The protocol {protocol.name} draws one class a query: use PanetProtocol with NWayEpisodicDataset.'
            )
        self.episodes = protocol.sample_ways(data, self.shots, self.ways)
        self._header = dict(protocol=protocol.name, missing_classes_as_zero=protocol.missing_classes_as_zero)
        self._eval_class_ids = protocol.eval_classes(data)
        self._hash = n_way_hash(self.episodes)
        ids = {name: i for i, name in enumerate(data.class_names)}
        self._class_ids = np.array([[ids[name] for name in e.class_names] for e in self.episodes])  # (E, W)
        self._query_places = data.positions_of([e.query for e in self.episodes])
        names = [name for e in self.episodes for way in e.supports for name in way]
        self._support_places = data.positions_of(names).reshape(-1, self.ways, self.shots)

    @property
    def metainfo(self) -> dict:
        """See :class:`EpisodicDataset`; ``ways`` in addition."""
        found = dict(super().metainfo, ways=self.ways)
        ways = [f'class {w + 1}' for w in range(self.ways)]
        colors = np.random.default_rng(42).integers(0, 255, (self.ways, 3)).tolist()
        return dict(found, classes=('background', *ways), palette=[[0, 0, 0], *colors])

    def images_of_episodes(self) -> tuple[list[int], list[list[tuple[int, int]]]]:
        """See :class:`EpisodicDataset`; supports (E, W*K)."""
        self.full_init()
        supports = [
            [(class_id, place) for class_id, row in zip(ids, rows, strict=True) for place in row]
            for ids, rows in zip(self._class_ids.tolist(), self._support_places.tolist(), strict=True)
        ]
        return self._query_places.tolist(), supports

    def _fixed_item(self, index: int) -> dict:
        e = self.episodes[index]
        class_ids, supports = self._class_ids[index].tolist(), self._support_places[index].tolist()
        return self._way_item((class_ids, e.query_way, self._query_places[index], supports), e.run, e.episode)

    def _drawn_item(self, index: int) -> dict:
        return self._way_item(self._sampler.draw(index), 0, index)

    def _way_item(self, draw: Draw, run: int, episode: int) -> dict:
        class_ids, query_way, query_place, support_places = draw
        supports = [
            self.support_pipeline(self._describe_way(place, class_ids, way))
            for way, places in enumerate(support_places)
            for place in places
        ]
        query = self.query_pipeline(
            dict(
                self._describe_way(query_place, class_ids, query_way),
                run=run,
                episode=episode,
                support_names=[self.dataset.name(place) for places in support_places for place in places],
                support_paths=[s['data_samples'].img_path for s in supports],
            )
        )
        return dict(
            inputs=dict(query=query['inputs'], support=[s['inputs'] for s in supports]),
            data_samples=dict(query=query['data_samples'], support=[s['data_samples'] for s in supports]),
        )

    def _describe_way(self, place: int, class_ids: Sequence[int], way: int) -> dict:
        return dict(self.describe_support(place, class_ids[way]), way_class_ids=tuple(class_ids), way=way)
