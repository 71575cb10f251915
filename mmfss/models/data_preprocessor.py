# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Episodes to tensors: the one place that knows how a collated batch becomes the model's input."""

import hashlib
from collections.abc import Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from mmseg.structures import SegDataSample
from torch import Tensor

from mmfss.registry import MODELS
from mmfss.structures import BackboneFeatures


@MODELS.register_module()
class EpisodeDataPreProcessor(BaseDataPreprocessor):
    """Normalises and stacks queries and supports.

    Images are expected at their final, equal size: padding is part of the pipelines, since the published geometry pads
    *before* normalisation.

    Args:
        mean (Sequence[float]): Of each RGB channel (or of the channels as they come, without ``bgr_to_rgb``).
        std (Sequence[float]): Standard deviation of each channel.
        bgr_to_rgb (bool): Reverse the channel order first. Defaults to False.
        non_blocking (bool): Asynchronous copy to the device. Defaults to False.
        query_labels (bool): Hand the queries' truth to the model, for evaluations that use it: oracles, and released
            code that reads it. The protocol must judge at network size. Defaults to False.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        bgr_to_rgb: bool = False,
        non_blocking: bool = False,
        query_labels: bool = False,
    ):
        super().__init__(non_blocking)
        self.bgr_to_rgb, self.query_labels = bgr_to_rgb, query_labels
        self.register_buffer('mean', torch.tensor(mean).view(3, 1, 1), False)
        self.register_buffer('std', torch.tensor(std).view(3, 1, 1), False)

    def forward(self, data: dict, training: bool = False) -> dict[str, object]:
        """Collated episodes to model input.

        Args:
            data (dict): ``inputs`` {query: B x (3, H, W), support: K x B x (3, H, W)} and ``data_samples`` alike, as
                mmengine's ``pseudo_collate`` leaves them (supports transposed).
            training (bool): Not used; kept for the interface.

        Returns:
            dict: ``inputs`` {query (B, 3, H, W), support (B, K, 3, H, W), support_mask (B, K, H, W) int64 of 0, 1, 255,
            query_padding (B, H, W) bool, True where the pipeline left no photograph, episode_seed (B,) int64, with
            ``query_labels`` also query_labels (B, H, W) int64} and ``data_samples``, the B query samples.

            Batches of a feature store (:class:`mmfss.datasets.StoredEpisodes`) are stacked already: their ``query``
            and ``support`` are BackboneFeatures, which only move to the device.

        Raises:
            ValueError: When queries, or supports with their masks, differ in size; or when truth is asked for that is
                not there at the size of the queries.
        """
        inputs, samples = data['inputs'], data['data_samples']
        if isinstance(inputs['query'], BackboneFeatures):
            moved = {name: value.to(self.mean.device) for name, value in inputs.items()}
            seeds = self._seeds(samples['query'])
            return dict(inputs=dict(moved, episode_seed=seeds), data_samples=self.cast_data(samples['query']))
        B = len(inputs['query'])
        images = [image for shot in inputs['support'] for image in shot]  # K*B of them
        supports = [sample for shot in samples['support'] for sample in shot]
        queries = self.query_inputs(inputs['query'], samples['query'])
        if self.query_labels:
            queries['query_labels'] = self._truth(queries['query'], samples['query'])
        images, labels = self.support_inputs(images, supports)

        def shots_last(stacked: Tensor) -> Tensor:  # (K*B, ...) -> (B, K, ...)
            return stacked.unflatten(0, (-1, B)).transpose(0, 1).contiguous()

        return dict(
            inputs=dict(**queries, support=shots_last(images), support_mask=shots_last(labels)),
            data_samples=self.cast_data(samples['query']),
        )

    def query_inputs(self, images: Sequence[Tensor], samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """What the model takes of B packed queries, in training, evaluation and the inferencer alike.

        Args:
            images (Sequence[Tensor]): B of (3, H, W).
            samples (Sequence[SegDataSample]): Theirs.

        Returns:
            dict: ``query``, ``query_padding`` and ``episode_seed``, see :meth:`forward`.

        Raises:
            ValueError: When they differ in size.
        """
        self._check_sizes(images, samples, 'queries')
        images = torch.stack(list(self.cast_data(list(images))))
        return dict(
            query=self.normalize(images),  # (B, 3, H, W)
            query_padding=self._padding(images, samples),  # (B, H, W)
            episode_seed=self._seeds(samples),  # (B,)
        )

    def support_inputs(self, images: Sequence[Tensor], samples: Sequence[SegDataSample]) -> tuple[Tensor, Tensor]:
        """Normalised images (N, 3, H, W) and labels (N, H, W) int64 of N packed supports.

        Raises:
            ValueError: When they, or they and their masks, differ in size.
        """
        labels = [sample.gt_sem_seg.data.squeeze(0).to(self.mean.device) for sample in samples]
        self._check_sizes([*images, *labels], [*samples, *samples], 'supports and their masks')
        images = torch.stack(list(self.cast_data(list(images))))
        return self.normalize(images), torch.stack(labels).long()

    def _truth(self, queries: Tensor, samples: Sequence[SegDataSample]) -> Tensor:
        """(B, H, W) int64: the queries' annotations at network size."""
        for sample in samples:
            found = tuple(sample.gt_sem_seg.data.shape[-2:]) if 'gt_sem_seg' in sample else None
            if found != tuple(queries.shape[-2:]):
                raise ValueError(
                    f'query_labels: {sample.metainfo.get("img_path")} is {tuple(queries.shape[-2:])}, its truth '
                    f"{found or 'missing'}. Use a protocol with ground_truth='network', such as repri"
                )
        return torch.cat([sample.gt_sem_seg.data for sample in samples]).long().to(self.mean.device)

    def _padding(self, queries: Tensor, samples: Sequence[SegDataSample]) -> Tensor:
        """(B, H, W) bool: the packed ``padding_map`` of each query; nowhere for a pipeline that makes none."""
        maps = [
            sample.padding_map.data.squeeze(0).to(self.mean.device) != 0
            if 'padding_map' in sample
            else torch.zeros(query.shape[-2:], dtype=torch.bool, device=self.mean.device)
            for query, sample in zip(queries, samples, strict=True)
        ]
        return torch.stack(maps)

    def _seeds(self, samples: Sequence) -> Tensor:
        """(B,) int64: a pure function of run, number and images of an episode, for heads that draw."""
        names = [[s.metainfo.get(key) for key in ('run', 'episode', 'name', 'support_names')] for s in samples]
        seeds = [hashlib.blake2b(repr(name).encode(), digest_size=7).digest() for name in names]
        return torch.tensor([int.from_bytes(seed, 'big') for seed in seeds], device=self.mean.device)

    def normalize(self, images: Tensor) -> Tensor:
        """(..., 3, H, W), 0..255 in file order -> normalised floats."""
        if self.bgr_to_rgb:
            images = images.flip(-3)
        return (images.float() - self.mean) / self.std

    @staticmethod
    def _check_sizes(tensors: Sequence[Tensor], samples: Sequence, what: str) -> None:
        if len({tuple(tensor.shape[-2:]) for tensor in tensors}) > 1:
            names = [
                (sample.metainfo.get('img_path'), tuple(tensor.shape[-2:]))
                for tensor, sample in zip(tensors, samples, strict=True)
            ]
            raise ValueError(
                f'{what} of one batch differ in size: {names}. End the pipeline with a crop or a pad to a '
                'fixed size, or set batch_size=1'
            )


@MODELS.register_module()
class NWayDataPreProcessor(EpisodeDataPreProcessor):
    """As :class:`EpisodeDataPreProcessor`, for episodes of W classes a query (NWayEpisodicDataset)."""

    def forward(self, data: dict, training: bool = False) -> dict[str, object]:
        """Collated episodes to model input.

        Args:
            data (dict): See :class:`EpisodeDataPreProcessor`, with W*K supports way by way.
            training (bool): Not used; kept for the interface.

        Returns:
            dict: See :class:`EpisodeDataPreProcessor`, with ``support`` (B, W, K, 3, H, W) and ``support_mask``
            (B, W, K, H, W) int64 of 0, 1 + w, 255.
        """
        found = super().forward(data, training)
        ways = len(found['data_samples'][0].metainfo['way_class_ids'])
        for name in ('support', 'support_mask'):
            found['inputs'][name] = found['inputs'][name].unflatten(1, (ways, -1))
        return found
