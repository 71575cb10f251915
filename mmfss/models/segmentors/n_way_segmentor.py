# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Queries divided among several classes: a bank for each, and one label map."""

from collections.abc import Sequence

import torch
from mmseg.structures import SegDataSample
from torch import Tensor

from mmfss.registry import MODELS
from mmfss.structures import BackboneFeatures, EncodedQuery, SupportBank

from ..layers.ways import join_ways, way_labels
from .evaluation import _exact
from .few_shot_segmentor import FewShotSegmentor


@MODELS.register_module()
class NWaySegmentor(FewShotSegmentor):
    """Segments a query by the supports of W classes, with the weights and the head of a :class:`FewShotSegmentor`.

    Inputs are as NWayDataPreProcessor makes them: ``support`` (B, W, K, 3, H, W) and ``support_mask`` (B, W, K, H, W)
    with 1 + w for the class of way w, 0 background, 255 neither. Each class has a SupportBank of its own, so classes
    that were registered one by one can be put together::

        banks = model.encode_ways(support, support_mask)
        scores = model.segment_ways(model.extract_feat(query), banks)  # final: (B, 1 + W, h, w)

    A head that says how classes compete (:meth:`mmfss.models.BaseMetaHead.forward_ways`) decides; else each class is
    segmented by itself and :func:`mmfss.models.layers.ways.join_ways` decides. Only heads of the first kind can be
    trained with several classes; weights of the second kind come from a FewShotSegmentor.

    Args:
        **kwargs: See :class:`FewShotSegmentor`; comparison heads are refused.

    Raises:
        ValueError: When there are comparison heads.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        if len(self.comparison_heads):
            raise ValueError('NWaySegmentor takes no comparison_heads: they segment one class. Leave them out')

    def encode_ways(self, inputs: Tensor, masks: Tensor, episode_seed: Tensor | None = None) -> list[SupportBank]:
        """Everything the supports of each class contribute.

        Args:
            inputs (Tensor): Normalised supports (B, W, K, 3, H, W).
            masks (Tensor): Their labels (B, W, K, H, W): 1 + w the class of way w, 0 background, 255 neither.
            episode_seed (Tensor, optional): int64 (B,), for heads that draw.

        Returns:
            list[SupportBank]: W banks of B episodes, K shots.
        """
        W, K = masks.shape[1:3]
        joint = self.encode_support(inputs.flatten(1, 2), way_labels(masks).flatten(1, 2), episode_seed)
        return [joint.map(lambda t, w=w: t[:, w * K : (w + 1) * K]) for w in range(W)]

    def segment_ways(
        self, features: BackboneFeatures | EncodedQuery, banks: Sequence[SupportBank]
    ) -> dict[str, Tensor]:
        """Scores of the queries at feature size, or at image size where the head gives them so.

        Args:
            features (BackboneFeatures | EncodedQuery): Of B queries.
            banks (Sequence[SupportBank]): Of the W classes; each of the same B episodes, or of one that serves all.

        Returns:
            dict[str, Tensor]: ``final`` (B, 1 + W, h, w), background first.
        """
        query = features if isinstance(features, EncodedQuery) else self.encode_query(features)
        exact = self.training or self.computes_in_bfloat16(query.device)
        banks = [self.finish(bank if exact else bank.to(torch.float32)).expand(query.batch_size) for bank in banks]
        with self._head_precision(query.device):
            output = self.decode_head.forward_ways(query.heads['meta'], [bank.part('meta') for bank in banks])
        if output is not None:
            return dict(final=output.logits.float())
        return dict(final=join_ways([self.segment(query, bank)['final'] for bank in banks]))

    def loss(self, inputs: dict[str, Tensor], data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        """Training losses: the head's own.

        Raises:
            TypeError: When the head learns one class at a time.
        """
        seed, head = inputs.get('episode_seed'), self.decode_head
        query = self.encode_query(self.extract_feat(inputs['query'], inputs.get('query_padding'), seed))
        banks = self.encode_ways(inputs['support'], inputs['support_mask'], seed)
        parts = [self.finish(bank).part('meta') for bank in banks]
        with self._head_precision(query.device):
            output = head.forward_ways(query.heads['meta'], parts)
        if output is None:
            raise TypeError(
                f'{type(head).__name__} learns one class at a time: train it in a FewShotSegmentor; NWaySegmentor '
                'tests its weights on several'
            )
        return head.loss_ways(output, parts, data_samples, self.loss_decode)

    def _scores(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        if not self.training:
            return super()._scores(inputs)
        seed = inputs.get('episode_seed')
        banks = self.encode_ways(inputs['support'], inputs['support_mask'], seed)
        return self.segment_ways(self.extract_feat(inputs['query'], inputs.get('query_padding'), seed), banks)

    def _evaluate_episode(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        seed, store = inputs.get('episode_seed'), self.feature_cache
        labels = way_labels(inputs['support_mask'])
        ways = []  # of each class the (key, bank) of its shots
        for images, masks in zip(inputs['support'].unbind(1), labels.unbind(1), strict=True):
            pairs = zip(images.split(1, dim=1), masks.split(1, dim=1), strict=True)
            ways.append([self._kept('support', self.encode_support, image, mask, seed) for image, mask in pairs])
        banks = [
            self.finish(SupportBank.stack_shots(_exact(store, self._for_forward(shot)) for _, shot in shots))
            for shots in ways
        ]

        def segment(image: Tensor, padding: Tensor | None) -> list[dict[str, Tensor]]:
            name, query = self._kept('query', self._encode_images, image, padding, seed)
            query = _exact(store, query, remember=True)
            compared = [SupportBank.stack_shots(self._compared(name + key, query, s) for key, s in w) for w in ways]
            return [self.segment_ways(query, [b.with_comparison(c) for b, c in zip(banks, compared, strict=True)])]

        return self._whole_or_windows(inputs['query'], inputs.get('query_padding'), segment)[0]
