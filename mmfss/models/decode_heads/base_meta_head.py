# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What every few-shot method is to the segmentors: encode supports once, segment queries against them."""

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from mmengine.model import BaseModule
from mmseg.structures import SegDataSample
from torch import Tensor

from mmfss.structures import STAGES, BackboneFeatures, BlockVisitor, SupportBank
from mmfss.utils.precision import without_autocast

from ..layers import resize

IGNORE = 255


@dataclass(frozen=True)
class MetaOutput:
    """Result of a meta head.

    Attributes:
        logits (Tensor): (B, 2, h, w), background and foreground; at feature size as a rule, at image size where shots
            vote there. (B, 1 + W, h, w) of :meth:`BaseMetaHead.forward_ways`.
        adjustment (Tensor, optional): Adjustment factor psi, (B, 1, 1, 1), for heads that estimate one.
        auxiliary (dict[str, Tensor]): Further maps that the head's own :meth:`BaseMetaHead.loss` reads.
    """

    logits: Tensor
    adjustment: Tensor | None = None
    auxiliary: dict[str, Tensor] = field(default_factory=dict)


def stack_labels(data_samples: Sequence[SegDataSample], field: str = 'gt_sem_seg') -> Tensor:
    """Labels (B, H, W) int64 of a batch of query samples."""
    return torch.cat([sample.get(field).data for sample in data_samples]).long()


class BaseMetaHead(BaseModule, metaclass=ABCMeta):
    """Base of the meta heads: a new method is one file with :meth:`encode_support` and :meth:`forward`, and a config.

    K, the number of shots, is read from the tensors of the bank and never stored. Everything below the two abstract
    methods has a default that suits a head which needs nothing special.

    Args:
        in_channels (Mapping[str, int], optional): Stage -> channels. The segmentor fills this in from its backbone.
        num_blocks (Mapping[str, int], optional): Stage -> number of its block features; filled in likewise.
        init_cfg (dict, optional): Initialisation config.

    Attributes:
        query_stages (Sequence[str]): Stages of a query that :meth:`forward` reads; 'layer1' is possible too.
        support_stages (Sequence[str]): Stages of a support that :meth:`encode_support` reads; 'masked_layer4' is layer4
            computed on layer3 times the foreground.
        uses_blocks (bool): Whether the block features are read.
        draws (bool): Whether random numbers are drawn by ``features.episode_seed``, which is None otherwise.
        draws_in_encoding (bool): Whether they are drawn while images are encoded, which then happens anew in every
            episode. False: in :meth:`forward` alone.
        cannot_export (str, optional): Why the head has no graph for export, for the message that says so; None: it has.
        fixed_shots (int, optional): K where the weights were learnt for one number of supports; None: any number.
    """

    query_stages: Sequence[str] = STAGES
    support_stages: Sequence[str] = STAGES
    uses_blocks: bool = False
    draws: bool = False
    cannot_export: str | None = None
    draws_in_encoding: bool = True
    fixed_shots: int | None = None

    def __init__(
        self,
        in_channels: Mapping[str, int] | None = None,
        num_blocks: Mapping[str, int] | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.in_channels, self.num_blocks = in_channels, num_blocks

    @abstractmethod
    def encode_support(self, features: BackboneFeatures, labels: Tensor) -> dict[str, Tensor]:
        """What each support contributes, each for itself.

        Args:
            features (BackboneFeatures): Of N = B*K support images.
            labels (Tensor): (N, 1, H, W) at image size: 1 foreground, 0 background, 255 neither (void, padding).
                ``foreground(labels)`` is the mask of {0., 1.} that most methods want.

        Returns:
            dict[str, Tensor]: Tensors (N, ...); the segmentor gives them their shape (B, K, ...) in a SupportBank.
        """

    @abstractmethod
    def forward(self, features: BackboneFeatures, bank: SupportBank) -> MetaOutput:
        """Segment queries.

        Args:
            features (BackboneFeatures): Of B query images, as :meth:`encode_query` left them; ``padding`` (B, 1, H, W)
                says which pixels are no photograph and ``image_size`` how large the images are.
            bank (SupportBank): Of the B episodes, K shots each, holding this head's tensors, finished.

        Returns:
            MetaOutput: Logits (B, 2, h, w).
        """

    def encode_query(self, features: BackboneFeatures) -> BackboneFeatures:
        """What :meth:`forward` reads of queries, as far as no support enters it.

        Done once a query, however many banks it is segmented against; evaluation keeps the result of images that come
        again, so what is left out of it costs no memory.

        Args:
            features (BackboneFeatures): Of B query images.

        Returns:
            BackboneFeatures: Usually ``features.keep(stages=..., extras={name: (B, ...)})``; the default is the
            features as they are.
        """
        return features

    def support_visitor(self, labels: Tensor) -> BlockVisitor | None:
        """What takes the blocks of supports one by one, in evaluation, so that their maps need not be kept.

        :meth:`encode_support` then finds its results in place of the maps, where a backbone can do so; a head that
        needs the maps themselves has none, the default.

        Args:
            labels (Tensor): As of :meth:`encode_support`.
        """
        return None

    def query_visitor(self, bank: SupportBank) -> BlockVisitor | None:
        """The same for queries: :meth:`compare` finds its results in place of the maps.

        Args:
            bank (SupportBank): As of :meth:`compare`.
        """
        return None

    def decoding(self, device: torch.device) -> AbstractContextManager:
        """Precision of a decoder: autocast as it is in training, none in evaluation.

        A decoder's share of an evaluation is small, and in bfloat16 it alone moves the scores more than all before it.
        """
        return nullcontext() if self.training else without_autocast(device.type)

    def compare(self, features: BackboneFeatures, bank: SupportBank) -> dict[str, Tensor]:
        """What :meth:`forward` reads of each query with each support, every pair for itself.

        Evaluation keeps the result of pairs that come again. :meth:`forward` finds the tensors beside the bank's own
        once it has called :meth:`compared`.

        Args:
            features (BackboneFeatures): Of B query images, as :meth:`encode_query` left them.
            bank (SupportBank): Of the B episodes, K shots each, with the tensors of :meth:`encode_support`.

        Returns:
            dict[str, Tensor]: Tensors (B, K, ...) under names that the bank does not have; the default: none.
        """
        return {}

    def compared(self, features: BackboneFeatures, bank: SupportBank) -> SupportBank:
        """The bank with :meth:`compare`'s tensors, which it may have already."""
        return bank if bank.compared else bank.with_comparison(SupportBank(self.compare(features, bank)))

    def compared_tensors(self) -> Collection[str]:
        """Tensors of the bank that :meth:`compare` alone reads: evaluation leaves them out of :meth:`forward`'s."""
        return ()

    @property
    def compares(self) -> bool:
        """Whether :meth:`compare` gives anything."""
        return type(self).compare is not BaseMetaHead.compare

    def finish(self, bank: SupportBank) -> SupportBank:
        """Once a class, after all its shots are joined: clusters, keys and values, a fitted classifier.

        Args:
            bank (SupportBank): Of B episodes, with this head's tensors (B, K, ...).

        Returns:
            SupportBank: ``bank.with_summary({name: (B, ...)})``, or the bank as it is, the default.
        """
        return bank

    def loss(
        self,
        output: MetaOutput,
        bank: SupportBank,
        data_samples: Sequence[SegDataSample],
        loss_decode: Callable[..., Tensor],
    ) -> dict[str, Tensor]:
        """Training losses of this head.

        Args:
            output (MetaOutput): Of :meth:`forward`.
            bank (SupportBank): Of the same B episodes.
            data_samples (Sequence[SegDataSample]): The queries' annotations: ``gt_sem_seg`` 0, 1, 255 at image size.
            loss_decode (Callable): The config's pixel loss: (scores, labels, ignore_index=255) -> scalar.

        Returns:
            dict[str, Tensor]: 'loss_...' -> scalar, with 'loss_final' for the logits; the default has nothing else.
        """
        labels = stack_labels(data_samples)  # (B, H, W)
        return dict(loss_final=loss_decode(resize(output.logits, labels.shape[-2:]), labels, ignore_index=IGNORE))

    def forward_ways(self, features: BackboneFeatures, banks: Sequence[SupportBank]) -> MetaOutput | None:
        """How W classes compete for the pixels of queries, for :class:`mmfss.models.NWaySegmentor`.

        Args:
            features (BackboneFeatures): Of B query images, as :meth:`encode_query` left them.
            banks (Sequence[SupportBank]): Of each class, of the B episodes, finished.

        Returns:
            MetaOutput | None: Logits (B, 1 + W, h, w), background first; with one class those of :meth:`forward`. The
            default, None: each class is segmented by itself.
        """
        return None

    def loss_ways(
        self,
        output: MetaOutput,
        banks: Sequence[SupportBank],
        data_samples: Sequence[SegDataSample],
        loss_decode: Callable[..., Tensor],
    ) -> dict[str, Tensor]:
        """Training losses of :meth:`forward_ways`; see :meth:`loss`, whose labels are 0, 1 + w and 255 here."""
        return BaseMetaHead.loss(self, output, banks[0], data_samples, loss_decode)

    def open_dims(self) -> dict[str, tuple[int, ...]]:
        """Tensors of the bank whose size follows from the supports, and in which negative dimensions.

        One dimension, such as ``(-1,)`` of kept vectors, is padded with zeros when supports are joined; two, ``(-2,
        -1)`` of maps, are a height and a width that must agree. The default: none, every size follows from the config.
        """
        return {}
