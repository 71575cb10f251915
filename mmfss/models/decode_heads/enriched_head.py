# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What PFENet and ASGNet share: a guided query enriched over scales, a residual refinement, losses of every scale."""

from abc import abstractmethod
from collections.abc import Callable, Sequence

from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmfss.structures import SupportBank

from ..layers import resize
from ..layers.classifier import classifier
from ..layers.feature_enrichment import FeatureEnrichment
from .base_meta_head import IGNORE, BaseMetaHead, MetaOutput, stack_labels

INNER = 'inner_'  # begins the names of the auxiliary logits that are trained


class EnrichedHead(BaseMetaHead):
    """Base of the heads that decode [query, guide] and a map of where the class may be, as PFENet does.

    Args:
        channels (int): C, channels of the reduced features. Defaults to 256.
        bins (Sequence[float]): Scales, see :class:`mmfss.models.layers.feature_enrichment.FeatureEnrichment`. Defaults
            to the released ones of PASCAL-5i; COCO-20i has (1.0, 0.5, 0.25, 0.125).
        auxiliary_weight (float): Of the mean loss over the scales' own logits. Defaults to 1.
        **kwargs: See :class:`BaseMetaHead`.
    """

    def __init__(
        self, channels: int = 256, bins: Sequence[float] = (60, 30, 15, 8), auxiliary_weight: float = 1.0, **kwargs
    ):
        super().__init__(**kwargs)
        # The order in which weights are made is that of a checkpoint's optimiser state.
        self.add_reductions(self.in_channels['layer2'] + self.in_channels['layer3'], channels)
        self.add_decoder(channels, bins)
        self.auxiliary_weight = auxiliary_weight

    @abstractmethod
    def add_reductions(self, in_channels: int, channels: int) -> None:
        """Make the modules that reduce layer3 and layer2, (N, in_channels, h, w) -> (N, channels, h, w)."""

    def add_decoder(self, channels: int, bins: Sequence[float]) -> None:
        """Make the modules that :meth:`decode` runs."""
        self.enrich = FeatureEnrichment(channels, bins)
        self.refine = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.ReLU(inplace=True),
        )
        self.classify = classifier(channels)

    def decode(self, guided: Tensor, probability: Tensor) -> MetaOutput:
        """Logits of a guided query.

        Args:
            guided (Tensor): [query, guide], (B, 2 C, h, w).
            probability (Tensor): Where the class may be, (B, 1, h, w).

        Returns:
            MetaOutput: Logits (B, 2, h, w); auxiliary ``inner_0``, ... (B, 2, b, b) of the scales and ``enriched``
            (B, C, h, w).
        """
        enriched, inner = self.enrich(guided, probability)
        auxiliary = {f'{INNER}{i}': logits for i, logits in enumerate(inner)}
        logits = self.classify(enriched + self.refine(enriched))
        return MetaOutput(logits, auxiliary=dict(auxiliary, enriched=enriched))

    def loss(
        self,
        output: MetaOutput,
        bank: SupportBank,
        data_samples: Sequence[SegDataSample],
        loss_decode: Callable[..., Tensor],
    ) -> dict[str, Tensor]:
        """``loss_final``, and ``loss_auxiliary``: the mean of the scales' losses, each at image size."""
        losses = super().loss(output, bank, data_samples, loss_decode)
        labels = stack_labels(data_samples)
        inner = [
            loss_decode(resize(logits, labels.shape[-2:]), labels, ignore_index=IGNORE)
            for name, logits in output.auxiliary.items()
            if name.startswith(INNER)
        ]
        return dict(losses, loss_auxiliary=self.auxiliary_weight * sum(inner) / len(inner))
