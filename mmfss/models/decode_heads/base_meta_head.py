# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What every few-shot method is to the segmentors: encode supports once, segment queries against them."""

from abc import ABCMeta, abstractmethod
from dataclasses import dataclass

from mmengine.model import BaseModule
from torch import Tensor

from mmfss.structures import SupportBank

from ..backbones import BackboneFeatures


@dataclass(frozen=True)
class MetaOutput:
    """Result of a meta head.

    Attributes:
        logits (Tensor): (B, 2, h, w), background and foreground.
        adjustment (Tensor, optional): adjustment factor psi, (B, 1, 1, 1), for heads that estimate one.
    """

    logits: Tensor
    adjustment: Tensor | None = None


class BaseMetaHead(BaseModule, metaclass=ABCMeta):
    """Base of the meta heads: a new method is one file with these two functions, and a config.

    K, the number of shots, is read from the tensors of the bank and never stored.
    """

    @abstractmethod
    def encode_support(self, features: BackboneFeatures, mask: Tensor) -> dict[str, Tensor]:
        """What each support contributes, each for itself.

        Args:
            features (BackboneFeatures): of N = B*K support images.
            mask (Tensor): their foreground in {0., 1.}, (N, 1, H, W) at image size.

        Returns:
            dict[str, Tensor]: tensors (N, ...); the segmentor gives them their shape (B, K, ...) in a SupportBank.
        """

    @abstractmethod
    def forward(self, features: BackboneFeatures, bank: SupportBank) -> MetaOutput:
        """Segment queries.

        Args:
            features (BackboneFeatures): of B query images.
            bank (SupportBank): of the B episodes, K shots each, holding this head's tensors.

        Returns:
            MetaOutput: logits (B, 2, h, w) at feature size.
        """
