# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""StoredEpisodes: training episodes whose images have been through the backbone already."""

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.utils.data import Dataset

from mmfss.structures import BackboneFeatures, FeatureFile, MapPlan
from mmfss.structures.feature_file import UNUSABLE

from .episodic_dataset import MAX_DRAWS
from .fixed_views import LABELS, FixedViews
from .transforms.packing import EPISODE_META, IMAGE_META


class StoredEpisodes(Dataset):
    """Episodes drawn as ever; for each of their images one of its fixed views is drawn in place of an augmentation.

    No image is opened: items are numbers of rows, and :meth:`collate` reads features and labels of a batch from the
    memory map. A process of its own would only copy them once more, so no workers are needed.

    Args:
        views (FixedViews): Its episodes draw.
        file (FeatureFile): With a row for each view.
        query_stages (Sequence[str]): Stages to read of queries.
        support_stages (Sequence[str]): Of supports.
    """

    def __init__(
        self, views: FixedViews, file: FeatureFile, query_stages: Sequence[str], support_stages: Sequence[str]
    ) -> None:
        self.views, self.file = views, file
        self.plan = MapPlan(**file.facts['plan'])
        self.query_stages, self.support_stages = tuple(query_stages), tuple(support_stages)

    @property
    def metainfo(self) -> dict:
        """See :class:`mmfss.datasets.EpisodicDataset`."""
        return self.views.episodes.metainfo

    def __len__(self) -> int:
        return len(self.views.episodes)

    def __getitem__(self, index: int) -> dict:
        for _ in range(MAX_DRAWS):
            class_id, query, supports = self.views.episodes.sampler.draw(index)
            drawn = np.random.randint(self.views.views, size=1 + len(supports)).tolist()
            places = zip((query, *supports), drawn, strict=True)
            rows = [self.views.row(i == 0, place, class_id, view) for i, (place, view) in enumerate(places)]
            if not (self.file.marks[rows] == UNUSABLE).any():
                return dict(rows=rows, samples=self._samples(class_id, query, supports, index))
            warnings.warn('An image of an episode is corrupt. Another episode is drawn.', RuntimeWarning, stacklevel=2)
            index = np.random.randint(len(self))
        raise RuntimeError(f'{MAX_DRAWS} episodes in a row held a corrupt file; the store named them as it was made.')

    def _samples(self, class_id: int, query: int, supports: Sequence[int], index: int) -> list[dict]:
        """Meta information of the query and of each support."""
        episodes = self.views.episodes
        described = [episodes.describe_support(place, class_id) for place in supports]
        found = dict(
            episodes.describe_query(query, class_id),
            run=0,
            episode=index,
            support_names=[d['name'] for d in described],
            support_paths=[d['img_path'] for d in described],
            img_shape=tuple(self.plan.image_size),
        )
        kept = EPISODE_META + IMAGE_META
        return [{key: d[key] for key in kept if key in d} for d in (found, *described)]

    def collate(self, items: Sequence[dict]) -> dict:
        """A batch of B episodes as the model takes them.

        Returns:
            dict: ``inputs`` {query BackboneFeatures of B, support of B*K, support_mask (B, K, H, W) int64,
            query_padding (B, H, W) bool}, ``data_samples`` {query: B, support: K x B} as an EpisodicDataset's batches.
        """
        query = self._read([item['rows'][0] for item in items], self.query_stages)
        support = self._read([row for item in items for row in item['rows'][1:]], self.support_stages)
        labels = {name: maps for name, maps in query[1].items() if name != 'padding'}
        samples = []
        for i, item in enumerate(items):
            sample = SegDataSample(metainfo=item['samples'][0])
            for key, name in LABELS.items():
                if name in labels:
                    sample.set_field(PixelData(data=labels[name][i].long()), key, dtype=PixelData)
            samples.append(sample)
        H, W = self.plan.image_size
        nowhere = torch.zeros(len(items), 1, H, W, dtype=torch.uint8)
        inputs = dict(
            query=query[0],
            support=support[0],
            support_mask=support[1]['labels'].long().view(len(items), -1, H, W),
            query_padding=query[1].get('padding', nowhere).squeeze(1) != 0,
        )
        shots = zip(*(item['samples'][1:] for item in items), strict=True)
        supports = [[SegDataSample(metainfo=meta) for meta in shot] for shot in shots]
        return dict(inputs=inputs, data_samples=dict(query=samples, support=supports))

    def _read(self, rows: Sequence[int], stages: Sequence[str]) -> tuple[BackboneFeatures, dict[str, Tensor]]:
        """Features and label maps (N, 1, H, W) of rows."""
        labels = [name for name in LABELS.values() if name in self.file.fields]
        maps = self.file.read(rows, [*self.plan.names(stages), *labels])
        return self.plan.features(maps, stages), {name: maps[name] for name in labels}
