# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Backbone features of queries and supports, as the heads of a segmentor ask for them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from mmfss.structures import MASKED_LAST_STAGE, BackboneFeatures, BlockVisitor, Size, SupportBank
from mmfss.utils.precision import autocast_to, check_precision, in_bfloat16, without_autocast
from mmfss.utils.weights import base_head_as_neck

from ..decode_heads import BaseMetaHead
from ..layers import foreground, resize
from ..layers.exporting import exporting
from ..layers.norms import eval_norms
from ..layers.slices import image_slices


class FeatureExtraction:
    """The part of a segmentor that runs backbone and neck.

    Attributes:
        backbone, neck (nn.Module): See :class:`FewShotSegmentor`; the neck may be missing.
        freeze_backbone, norm_eval (bool): Likewise.
        precision (str): Likewise; may be set at any time.
        needed_query_stages (Sequence[str]): Stages that the segmentor itself reads of a query.
    """

    needed_query_stages: Sequence[str] = ()

    backbone: nn.Module
    freeze_backbone: bool
    norm_eval: bool

    @property
    def precision(self) -> str:
        """Of inference: 'float32', 'bfloat16' or 'auto'."""
        return self._precision

    @precision.setter
    def precision(self, precision: str) -> None:
        self._precision = check_precision(precision)

    def computes_in_bfloat16(self, device: torch.device | str) -> bool:
        """Whether what is on ``device`` is computed in bfloat16: in evaluation alone, as ``precision`` says."""
        return not self.training and in_bfloat16(self.precision, device)

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

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        if not prefix and hasattr(getattr(self, 'neck', None), 'base_head'):  # a base learner's file will do
            state_dict.update(base_head_as_neck(state_dict))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def query_stages(self) -> tuple[str, ...]:
        """Stages that segmentor and heads read of a query."""
        return _union([self.needed_query_stages, *(head.query_stages for head in self._meta_heads().values())])

    def support_stages(self) -> tuple[str, ...]:
        """Stages that the heads read of a support, perhaps with 'masked_layer4'."""
        return _union(head.support_stages for head in self._meta_heads().values())

    def extract_feat(
        self,
        inputs: Tensor | BackboneFeatures,
        padding: Tensor | None = None,
        episode_seed: Tensor | None = None,
        visit: BlockVisitor | None = None,
    ) -> BackboneFeatures:
        """Features of queries; in evaluation float32 or bfloat16 as ``precision`` says, whatever autocast says.

        Args:
            inputs (Tensor | BackboneFeatures): Normalised images (B, 3, H, W), or what a feature store kept of them.
            padding (Tensor, optional): bool (B, H, W), True where an image holds no photograph. Defaults to nowhere.
            episode_seed (Tensor, optional): int64 (B,), for heads that draw. Defaults to zeros.
            visit (BlockVisitor, optional): Takes the place of the block features, see :meth:`query_visitor`.
        """
        features = inputs if isinstance(inputs, BackboneFeatures) else self._extract(inputs, self.query_stages(), visit)
        return self._describe(features, inputs, padding, episode_seed)

    def query_visitor(self, banks: Sequence[SupportBank]) -> BlockVisitor | None:
        """What compares each block of a query with several banks as soon as it is there, and drops it.

        Args:
            banks (Sequence[SupportBank]): Of one episode each.

        Returns:
            BlockVisitor, optional: Its results are tuples, of each bank what :meth:`BaseMetaHead.compare` finds in
            place of the map. None where the maps have to be kept.
        """
        name = self._visiting_head()
        visitors = [self._meta_heads()[name].query_visitor(bank.part(name)) for bank in banks] if name else [None]
        return None if None in visitors else lambda *block: tuple(visit(*block) for visit in visitors)

    def support_visitor(self, labels: Tensor) -> BlockVisitor | None:
        """The same for supports with labels (N, 1, H, W), see :meth:`BaseMetaHead.support_visitor`."""
        name = self._visiting_head()
        return self._meta_heads()[name].support_visitor(labels) if name else None

    def _visiting_head(self) -> str | None:
        """The one head that reads blocks, where its visitor may run in the middle of the backbone."""
        names = [name for name, head in self._meta_heads().items() if head.uses_blocks]
        able = getattr(self.backbone, 'visits_blocks', False)
        plain = not (self.training or torch.is_grad_enabled() or exporting())
        return names[0] if able and plain and len(names) == 1 else None

    def support_features(
        self,
        images: Tensor | BackboneFeatures,
        labels: Tensor,
        episode_seed: Tensor | None = None,
        visit: BlockVisitor | None = None,
    ) -> BackboneFeatures:
        """Features of supports, with 'masked_layer4' where a head asks for it.

        Args:
            images (Tensor | BackboneFeatures): Normalised images (N, 3, H, W), or what a feature store kept of them.
            labels (Tensor): (N, 1, H, W), 0, 1, 255.
            episode_seed (Tensor, optional): int64 (N,).
            visit (BlockVisitor, optional): Takes the place of the block features, see :meth:`support_visitor`.
        """
        stored = isinstance(images, BackboneFeatures)
        features = images if stored else self._extract_masked(images, labels, self.support_stages(), visit)
        return self._describe(features, images, None, episode_seed)

    def view_features(self, images: Tensor, labels: Tensor) -> BackboneFeatures:
        """Everything that queries and supports need of images (N, 3, H, W) with labels (N, 1, H, W): for a store."""
        return self._extract_masked(images, labels, _union([self.query_stages(), self.support_stages()]))

    def _extract_masked(
        self, images: Tensor, labels: Tensor, wanted: Sequence[str], visit: BlockVisitor | None = None
    ) -> BackboneFeatures:
        """Features with all of these stages; 'masked_layer4' is computed from the labels."""
        if MASKED_LAST_STAGE not in wanted:
            return self._extract(images, wanted, visit)
        plain = [stage for stage in wanted if stage != MASKED_LAST_STAGE]
        features = self._extract(images, _union([plain, ['layer3']]), visit)
        last = self._masked_last_stage(features['layer3'], labels)
        return replace(features, stages={**features.stages, MASKED_LAST_STAGE: last})

    def _extract(self, images: Tensor, stages: Sequence[str], visit: BlockVisitor | None = None) -> BackboneFeatures:
        blocks = any(head.uses_blocks for head in self._meta_heads().values())
        dtype = self._feature_dtype(images.device)

        def visited(stage: str, block: Tensor, sizes: Mapping[str, Size]) -> object:
            with self._head_precision(images.device):
                return visit(stage, block.to(dtype), sizes)

        visits = () if visit is None else (visited,)

        def compute(chosen: slice = slice(None)) -> BackboneFeatures:
            features = self.backbone.extract_blocks(images[chosen], stages, blocks, *visits)
            return replace(features, neck=self.neck(tuple(features.stages.values()))) if self.with_neck else features

        with self._backbone_gradients(), self._backbone_precision(images.device):
            if self.training and not (self.freeze_backbone and self.norm_eval):
                return compute()
            if visits:  # of an image or slice
                features = compute()
                return replace(features.to(dtype), blocks=features.blocks)
            features = self._sliced(images, compute)
            return features if self.training else features.to(dtype)

    @staticmethod
    def _sliced(images: Tensor, compute: Callable[[slice], BackboneFeatures]) -> BackboneFeatures:
        """Features of slices that stay in the cache, joined."""
        parts = [compute(chosen) for chosen in image_slices(images)]
        return parts[0] if len(parts) == 1 else BackboneFeatures.join(parts)

    def _masked_last_stage(self, layer3: Tensor, labels: Tensor) -> Tensor:
        """The last stage on layer3 times the foreground, as PFENet and BAM do: (N, C, h, w) -> (N, C4, h4, w4)."""
        masked = layer3 * resize(foreground(labels), layer3.shape[-2:])
        with self._backbone_gradients(), self._backbone_precision(layer3.device):
            last = self.backbone.last_stage(masked)
            return last if self.training else last.to(self._feature_dtype(layer3.device))

    def _describe(
        self,
        features: BackboneFeatures,
        images: Tensor | BackboneFeatures,
        padding: Tensor | None,
        episode_seed: Tensor | None,
    ) -> BackboneFeatures:
        N, stored = features.batch_size, isinstance(images, BackboneFeatures)
        size = images.image_size if stored else tuple(images.shape[-2:])
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

    @property
    def _encoding_draws(self) -> bool:
        """Whether what an image contributes depends on the episode."""
        return any(head.draws and head.draws_in_encoding for head in self._meta_heads().values())

    def _shared_parts(self) -> list[torch.nn.Module]:
        return [self.backbone, *([self.neck] if self.with_neck else [])]

    def _feature_dtype(self, device: torch.device) -> torch.dtype:
        return torch.bfloat16 if self.computes_in_bfloat16(device) else torch.float32

    def _backbone_precision(self, device: torch.device) -> AbstractContextManager:
        return autocast_to('bfloat16', device) if self.computes_in_bfloat16(device) else nullcontext()

    def _head_precision(self, device: torch.device) -> AbstractContextManager:
        """Autocast as it is in training; in evaluation bfloat16 where ``precision`` says so, else none."""
        if self.training:
            return nullcontext()
        return autocast_to('bfloat16', device) if self.computes_in_bfloat16(device) else without_autocast(device.type)

    def _backbone_gradients(self) -> AbstractContextManager:
        return torch.no_grad() if self.freeze_backbone else nullcontext()


def _union(groups: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """All names, each once, in alphabetical order (of stages: the order of computation)."""
    return tuple(sorted({name for group in groups for name in group}))
