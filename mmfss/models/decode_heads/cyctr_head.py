# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""CyCTR's head (Zhang et al. 2021): the query attends to those support pixels that lead back to their own kind."""

from collections.abc import Callable, Sequence

import torch
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmfss.registry import MODELS
from mmfss.structures import STAGES, BackboneFeatures, SupportBank
from mmfss.utils.precision import without_autocast

from ..layers import encode_prior, foreground, masked_average, prior_mask, reduction, resize
from ..layers.classifier import classifier
from ..layers.constant_maps import conv_of_parts
from ..layers.cycle_transformer import CycleTransformer, SupportTokens
from ..layers.masks import resize_nearest
from ..layers.prior_mask import PRIOR_PARTS
from ..layers.support_tokens import token_flags
from ..layers.token_draw import TokenDraw
from ..losses.channel_dice import channel_dice
from .base_meta_head import BaseMetaHead, MetaOutput, stack_labels


def _merge(in_channels: int, channels: int) -> nn.Sequential:
    """1x1 conv without bias, ReLU."""
    return nn.Sequential(nn.Conv2d(in_channels, channels, 1, bias=False), nn.ReLU(inplace=True))


def _refine(channels: int) -> nn.Sequential:
    """Two 3x3 convs without bias, each with ReLU; to be added to their input."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.ReLU(inplace=True),
    )


class SupportBranch(nn.Module):
    """The other way round, in training alone: the query's prototype, by its true mask, segments the supports.

    Args:
        channels (int): C.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.project = _merge(channels, channels)
        self.merge = _merge(2 * channels, channels)
        self.refine = _refine(channels)
        self.classify = classifier(channels)

    def forward(self, fused: Tensor, reduced: Tensor, mask: Tensor, supports: Tensor) -> Tensor:
        """Logits of the supports.

        Args:
            fused (Tensor): The query's map before its classifier, (B, C, h, w).
            reduced (Tensor): The query's reduced feature, (B, C, h, w).
            mask (Tensor): Its true foreground (B, 1, H, W).
            supports (Tensor): Their reduced features, (B, K, C, h', w').

        Returns:
            Tensor: (B, K, 2, h', w').
        """
        B, K = supports.shape[:2]
        prototype = masked_average(self.project(fused) + reduced, mask)  # (B, C)
        prototype = prototype.repeat_interleave(K, 0)[:, :, None, None].to(supports.dtype)
        conv, relu = self.merge
        merged = relu(conv_of_parts(conv, [supports.flatten(0, 1), prototype], constant=[1]))
        return self.classify(merged + self.refine(merged)).unflatten(0, (B, K))


@MODELS.register_module()
class CyCTRHead(BaseMetaHead):
    """Cycle-consistent transformer, after the released code (YanFangCS/CyCTR-Pytorch).

    One checkpoint computes with every K; the published 5-shot numbers come from weights trained with five supports.
    Support tokens are drawn anew in each episode, in evaluation by its seed.

    Args:
        channels (int): C, channels of the reduced features and of the transformer. Defaults to 256.
        heads (int, optional): Of the transformer, see :class:`mmfss.models.layers.cycle_transformer.CycleTransformer`.
        points (int): Places that a query position looks at in the query. Defaults to 9.
        tokens (int): Foreground tokens, and background tokens, drawn for each support. Defaults to 300.
        pairing (str): Whose flags a drawn token has, see :class:`mmfss.models.layers.token_draw.TokenDraw`: 'released',
            the default, repeats a slip of the released code that its numbers contain; 'aligned' has the right ones.
        auxiliary_weight (float): Of the loss on the supports. Defaults to 1.
        **kwargs: See :class:`BaseMetaHead`.
    """

    query_stages = support_stages = STAGES
    draws = True
    draws_in_encoding = False

    def __init__(
        self,
        channels: int = 256,
        heads: int | None = None,
        points: int = 9,
        tokens: int = 300,
        pairing: str = 'released',
        auxiliary_weight: float = 1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        reduced = self.in_channels['layer2'] + self.in_channels['layer3']
        self.reduce_query, self.reduce_support = reduction(reduced, channels), reduction(reduced, channels)
        self.merge_query, self.merge_support = _merge(2 * channels + 1, channels), _merge(2 * channels, channels)
        self.transformer = CycleTransformer(channels, heads=heads, points=points)
        self.fuse, self.refine, self.classify = _merge(channels, channels), _refine(channels), classifier(channels)
        self.support_branch = SupportBranch(channels)
        self.draw = TokenDraw(tokens, pairing)
        self.auxiliary_weight = auxiliary_weight

    @staticmethod
    def _concat(features: BackboneFeatures) -> Tensor:
        """layer2 and layer3, in this order (PFENet and its followers have the other), at layer3's size."""
        layer3 = features['layer3']
        return torch.cat([resize(features['layer2'], layer3.shape[-2:]), layer3], dim=1)

    def encode_support(self, features: BackboneFeatures, labels: Tensor) -> dict[str, Tensor]:
        """See :meth:`BaseMetaHead.encode_support`.

        ``prototype`` (N, C), ``merged`` (N, C, h, w), the flags ``foreground`` and ``padded``, bool (N, h, w), and what
        the prior mask keeps; in training also ``reduced`` (N, C, h, w) and ``labels`` (N, H, W).
        """
        mask = foreground(labels)
        reduced = self.reduced_support(features)
        prototype = masked_average(reduced, mask)
        conv, relu = self.merge_support
        merged = relu(conv_of_parts(conv, [reduced, prototype[:, :, None, None].to(reduced.dtype)], constant=[1]))
        tensors = dict(prototype=prototype, merged=merged)
        tensors |= dict(zip(('foreground', 'padded'), token_flags(labels, merged.shape[-2:]), strict=True))
        tensors |= {f'prior_{k}': t for k, t in encode_prior(features['layer4'], mask).items()}
        return tensors | (dict(reduced=reduced, labels=labels.squeeze(1)) if self.training else {})

    def reduced_support(self, features: BackboneFeatures) -> Tensor:
        """(N, C, h, w): layer2 and layer3 of the supports with few channels."""
        return self.reduce_support(self._concat(features))

    def encode_query(self, features: BackboneFeatures) -> BackboneFeatures:
        """See :meth:`BaseMetaHead.encode_query`: ``reduced`` (B, C, h, w), and layer4 for the prior mask."""
        return features.keep(stages=('layer4',), extras=dict(reduced=self.reduce_query(self._concat(features))))

    def compare(self, features: BackboneFeatures, bank: SupportBank) -> dict[str, Tensor]:
        """See :meth:`BaseMetaHead.compare`: ``prior`` (B, K, h, w), of layer4's size."""
        return dict(prior=prior_mask(features['layer4'], {k: bank[f'prior_{k}'] for k in PRIOR_PARTS}))

    def compared_tensors(self) -> tuple[str, ...]:
        """What the prior mask keeps of a support."""
        return tuple(f'prior_{k}' for k in PRIOR_PARTS)

    def guidance(self, features: BackboneFeatures, bank: SupportBank) -> dict[str, Tensor]:
        """``query`` (B, C, h, w), ``prototype`` (B, C, 1, 1) and ``prior`` (B, 1, h, w), means over the shots."""
        query, bank = features.extras['reduced'], self.compared(features, bank)
        prior = resize(bank['prior'], query.shape[-2:])  # (B, K, h, w)
        prototype = bank['prototype'].mean(1)[:, :, None, None]
        return dict(query=query, prototype=prototype, prior=prior.mean(1, keepdim=True))

    def merged_query(self, features: BackboneFeatures, bank: SupportBank) -> Tensor:
        """The transformer's input (B, C, h, w): query, prototype and prior as one map."""
        parts = self.guidance(features, bank)
        parts = list(parts.values()) if self.training else [part.float() for part in parts.values()]
        conv, relu = self.merge_query
        return relu(conv_of_parts(conv, parts, constant=[1]))

    @staticmethod
    def support_tokens(bank: SupportBank) -> SupportTokens:
        """All positions of the K supports, shot by shot and row by row: N = K * h * w."""
        vectors = bank['merged'].flatten(3).transpose(2, 3).flatten(1, 2)  # (B, N, C)
        return SupportTokens(vectors.float(), bank['foreground'].flatten(1), bank['padded'].flatten(1))

    def fused(self, features: BackboneFeatures, bank: SupportBank) -> Tensor:
        """The classifier's input (B, C, h, w)."""
        query = self.merged_query(features, bank)
        support, layers = self.support_tokens(bank), len(self.transformer.layers)
        if self.training:
            draws = self.draw.training(support.foreground, bank.num_shots, layers)
        else:
            draws = self.draw.evaluation(support.foreground, bank.num_shots, features.episode_seed, layers)
        padded = resize_nearest(features.padding.float(), query.shape[-2:]).squeeze(1) > 0  # (B, h, w)
        # In half precision places are rounded to half a pixel and consistent tokens become inconsistent ones.
        with without_autocast(query.device.type):
            transformed = self.transformer(query.float(), padded, support, draws)
        fused = self.fuse(transformed)
        return fused + self.refine(fused)

    def forward(self, features: BackboneFeatures, bank: SupportBank) -> MetaOutput:
        """Logits (B, 2, h, w); in training the auxiliary maps ``fused`` and ``reduced`` (B, C, h, w) of the query."""
        with self.decoding(features.device):
            fused = self.fused(features, bank)
            auxiliary = dict(fused=fused, reduced=features.extras['reduced']) if self.training else {}
            return MetaOutput(self.classify(fused), auxiliary=auxiliary)

    def loss(
        self,
        output: MetaOutput,
        bank: SupportBank,
        data_samples: Sequence[SegDataSample],
        loss_decode: Callable[..., Tensor],
    ) -> dict[str, Tensor]:
        """Dice of the query, ``loss_final``, and of the supports, ``loss_auxiliary``; ``loss_decode`` is not used."""
        labels = stack_labels(data_samples)  # (B, H, W)
        size = labels.shape[-2:]
        maps = output.auxiliary['fused'], output.auxiliary['reduced']
        supports = self.support_branch(*maps, foreground(labels.unsqueeze(1)), bank['reduced'])
        supports, theirs = supports.flatten(0, 1), bank['labels'].flatten(0, 1)  # (B * K, 2, h, w), (B * K, H, W)
        auxiliary = channel_dice(resize(supports, theirs.shape[-2:]), theirs)
        return dict(
            loss_final=channel_dice(resize(output.logits, size), labels),
            loss_auxiliary=self.auxiliary_weight * auxiliary,
        )

    def open_dims(self) -> dict[str, tuple[int, ...]]:
        """The kept vectors of the prior mask, and the supports' maps."""
        maps = dict.fromkeys(('merged', 'foreground', 'padded'), (-2, -1))
        return dict(maps, prior_vectors=(-1,), prior_valid=(-1,))
