# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Backbone features of queries and supports, as the heads of a segmentor ask for them."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from mmfss.structures import MASKED_LAST_STAGE, BackboneFeatures

from ..decode_heads import BaseMetaHead
from ..layers import foreground, resize
from ..layers.norms import eval_norms


class FeatureExtraction:
    """The part of a segmentor that runs backbone and neck.

    Attributes:
        backbone, neck (nn.Module): See :class:`FewShotSegmentor`; the neck may be missing.
        freeze_backbone, norm_eval (bool): Likewise.
        needed_query_stages (Sequence[str]): Stages that the segmentor itself reads of a query.
    """

    needed_query_stages: Sequence[str] = ()

    backbone: nn.Module
    freeze_backbone: bool
    norm_eval: bool

    def _meta_heads(self) -> dict[str, BaseMetaHead]:
        """Heads that read supports."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> 'FeatureExtraction':
        """As nn.Module's, with backbone and neck in eval mode while frozen (see ``norm_eval``)."""
        super().train(mode)
        if self.norm_eval:
            for part in self._shared_parts():
                if self.freeze_backbone:
                    part.eval()
                else:
                    eval_norms(part)
        return self

    def extract_feat(
        self, inputs: Tensor, padding: Tensor | None = None, episode_seed: Tensor | None = None
    ) -> BackboneFeatures:
        """Features of queries; in evaluation float32, whatever autocast says.

        Args:
            inputs (Tensor): Normalised images (B, 3, H, W).
            padding (Tensor, optional): bool (B, H, W), True where an image holds no photograph. Defaults to nowhere.
            episode_seed (Tensor, optional): int64 (B,), for heads that draw. Defaults to zeros.
        """
        stages = [head.query_stages for head in self._meta_heads().values()]
        features = self._extract(inputs, _union([self.needed_query_stages, *stages]))
        return self._describe(features, inputs, padding, episode_seed)

    def support_features(self, images: Tensor, labels: Tensor, episode_seed: Tensor | None = None) -> BackboneFeatures:
        """Features of supports, with 'masked_layer4' where a head asks for it.

        Args:
            images (Tensor): Normalised images (N, 3, H, W).
            labels (Tensor): (N, 1, H, W), 0, 1, 255.
            episode_seed (Tensor, optional): int64 (N,).
        """
        wanted = _union(head.support_stages for head in self._meta_heads().values())
        masked = MASKED_LAST_STAGE in wanted
        plain = [stage for stage in wanted if stage != MASKED_LAST_STAGE]
        features = self._extract(images, _union([plain, ['layer3']]) if masked else plain)
        if masked:
            last = self._masked_last_stage(features['layer3'], labels)
            features = replace(features, stages={**features.stages, MASKED_LAST_STAGE: last})
        return self._describe(features, images, None, episode_seed)

    def _extract(self, images: Tensor, stages: Sequence[str]) -> BackboneFeatures:
        blocks = any(head.uses_blocks for head in self._meta_heads().values())

        with self._backbone_gradients():
            features = self.backbone.extract_blocks(images, stages, blocks)
            if self.with_neck:
                features = replace(features, neck=self.neck(tuple(features.stages.values())))
            return features if self.training else features.float()

    def _masked_last_stage(self, layer3: Tensor, labels: Tensor) -> Tensor:
        """The last stage on layer3 times the foreground, as PFENet and BAM do: (N, C, h, w) -> (N, C4, h4, w4)."""
        masked = layer3 * resize(foreground(labels), layer3.shape[-2:])
        with self._backbone_gradients():
            last = self.backbone.last_stage(masked)
            return last if self.training else last.float()

    def _describe(
        self, features: BackboneFeatures, images: Tensor, padding: Tensor | None, episode_seed: Tensor | None
    ) -> BackboneFeatures:
        N, size = images.shape[0], tuple(images.shape[-2:])
        if padding is None:
            padding = torch.zeros(N, *size, dtype=torch.bool, device=images.device)
        if not self._draws:
            episode_seed = None  # what no head reads must not tell images apart
        elif episode_seed is None:
            episode_seed = torch.zeros(N, dtype=torch.long, device=images.device)
        return replace(features, padding=padding.unsqueeze(1), episode_seed=episode_seed, image_size=size)

    @property
    def _draws(self) -> bool:
        """Whether a head draws random numbers by the episode."""
        return any(head.draws for head in self._meta_heads().values())

    def _shared_parts(self) -> list[torch.nn.Module]:
        return [self.backbone, *([self.neck] if self.with_neck else [])]

    def _backbone_gradients(self) -> AbstractContextManager:
        return torch.no_grad() if self.freeze_backbone else nullcontext()


def _union(groups: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """All names, each once, in alphabetical order (of stages: the order of computation)."""
    return tuple(sorted({name for group in groups for name in group}))
