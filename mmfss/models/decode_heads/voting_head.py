# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Base of methods that segment by each support alone and let the masks vote (HSNet, VAT)."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from mmseg.structures import SegDataSample
from torch import Tensor

from mmfss.structures import BackboneFeatures, SupportBank

from ..layers import resize
from ..layers.exporting import exporting
from ..layers.voting import vote
from .base_meta_head import IGNORE, BaseMetaHead, MetaOutput, stack_labels


class VotingHead(BaseMetaHead):
    """A head of pairs: :meth:`segment_pairs` makes logits of a query and one support, K of them vote at image size.

    Args:
        ignore_void (bool): Leave pixels labelled 255 out of the loss. The released codes have no such index and take
            them for background, the default.
        **kwargs: See :class:`BaseMetaHead`.
    """

    def __init__(self, ignore_void: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.ignore_void = ignore_void

    @abstractmethod
    def segment_pairs(self, features: BackboneFeatures, support: Mapping[str, Tensor]) -> Tensor:
        """Logits of pairs.

        Args:
            features (BackboneFeatures): Of N queries, as :meth:`encode_query` left them.
            support (Mapping[str, Tensor]): :meth:`encode_support`'s tensors (N, ...) of one support each.

        Returns:
            Tensor: (N, 2, h, w), background and foreground.
        """

    def compare(self, features: BackboneFeatures, bank: SupportBank) -> dict[str, Tensor]:
        """See :meth:`BaseMetaHead.compare`: ``shot_logits`` (B, K, 2, h, w), all that this method computes."""
        B, K = bank.batch_size, bank.num_shots
        supports = {name: t.flatten(0, 1) for name, t in bank.tensors.items()}  # (B*K, ...)
        if exporting() or features.device.type != 'cpu':
            queries = features if K == 1 else features.map(lambda t: t.repeat_interleave(K, dim=0))
            return dict(shot_logits=self.segment_pairs(queries, supports).unflatten(0, (B, K)))
        # On a CPU the volumes of one pair are as much as its caches hold.
        logits = []
        for i in range(B * K):
            query = features.map(lambda t, b=i // K: t[b : b + 1])
            logits.append(self.segment_pairs(query, {name: t[i : i + 1] for name, t in supports.items()}))
        return dict(shot_logits=torch.cat(logits).unflatten(0, (B, K)))

    def forward(self, features: BackboneFeatures, bank: SupportBank) -> MetaOutput:
        """Logits (B, 2, h, w) of one support; of more the scores of :func:`vote` (B, 2, H, W), at image size.

        ``auxiliary`` has ``shot_logits`` (B, K, 2, h, w).
        """
        logits = self.compared(features, bank)['shot_logits']
        K = logits.shape[1]
        voting = logits if K == 1 else resize(logits.flatten(0, 1), features.image_size).unflatten(0, (-1, K))
        return MetaOutput(vote(voting), auxiliary=dict(shot_logits=logits))

    def loss(
        self,
        output: MetaOutput,
        bank: SupportBank,
        data_samples: Sequence[SegDataSample],
        loss_decode: Callable[..., Tensor],
    ) -> dict[str, Tensor]:
        """``loss_final``: the mean over the shots of the loss of each one's logits, at image size; a vote has none."""
        labels = stack_labels(data_samples)  # (B, H, W)
        if not self.ignore_void:
            labels = labels.where(labels != IGNORE, 0)
        losses = [
            loss_decode(resize(logits, labels.shape[-2:]), labels, ignore_index=IGNORE)
            for logits in output.auxiliary['shot_logits'].unbind(1)
        ]
        return dict(loss_final=sum(losses) / len(losses))
