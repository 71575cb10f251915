# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Meta learner and base learner together (BAM, Lang et al. 2022, section 3.5; MSANet uses the same ensemble)."""

from dataclasses import replace

import torch
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmfss.registry import MODELS
from mmfss.structures import STAGES, BackboneFeatures, EncodedQuery, SupportBank
from mmfss.utils.precision import without_autocast

from ..decode_heads import MetaOutput
from ..decode_heads.base_meta_head import IGNORE, stack_labels
from ..layers import agree_with_argmax, resize
from ..layers.pyramid_taps import psp_logits
from .few_shot_segmentor import FewShotSegmentor


def _merging_conv() -> nn.Conv2d:
    """1x1 conv 2 -> 1 without bias that starts by passing its first input on."""
    conv = nn.Conv2d(2, 1, 1, bias=False)
    conv.weight.data.copy_(torch.tensor([1.0, 0.0]).view(1, 2, 1, 1))
    return conv


@MODELS.register_module()
class BaseLearnerEnsemble(FewShotSegmentor):
    """A meta head whose background is raised where the base learner sees a base class.

    The base learner is a head on the query's last stage, trained in stage 1 and frozen here; backbone and preprocessing
    are shared.

    Args:
        base_head (dict): Config of the base learner's head (mmseg's PSPHead); ``num_classes`` is 1 + base classes.
        log_base_loss (bool): Report the frozen base learner's loss in training as ``base_ce``. It has no gradient.
            Defaults to False.
        **kwargs: See :class:`FewShotSegmentor`.
    """

    needed_query_stages = STAGES  # the base learner reads them, whatever the meta head does

    def __init__(self, base_head: dict, log_base_loss: bool = False, **kwargs):
        super().__init__(**kwargs)
        self._encoding['base_head'] = base_head
        # Its own loss is not used; mmseg's default one warns when it is built.
        self.base_head = MODELS.build(
            {'loss_decode': dict(type='mmseg.CrossEntropyLoss', avg_non_ignore=True), **base_head}
        )
        self.base_head.requires_grad_(False)
        self.merge_adjustment = _merging_conv()  # (w1, w2), shared by background and foreground
        self.merge_base = _merging_conv()  # (v1, v2)
        self.log_base_loss = log_base_loss

    def train(self, mode: bool = True) -> 'BaseLearnerEnsemble':
        """As nn.Module's, with backbone and base learner always in eval mode."""
        super().train(mode)
        self.base_head.eval()
        return self

    def encode_query(self, features: BackboneFeatures) -> EncodedQuery:
        """See :meth:`FewShotSegmentor.encode_query`; ``base`` (B, 1 + N_base, h4, w4) are the base learner's logits."""
        with torch.no_grad(), self._head_precision(features.device):
            base = psp_logits(self.base_head, [features[stage] for stage in STAGES]).float()
        return replace(super().encode_query(features), outputs=dict(base=base))

    def scores(self, output: MetaOutput, query: EncodedQuery, own_class: Tensor | None = None) -> dict[str, Tensor]:
        """The ensemble of meta learner and base learner.

        Args:
            output (MetaOutput): Of the meta head, with an adjustment factor.
            query (EncodedQuery): Of B queries.
            own_class (Tensor, optional): (B,) index of the episode's class among the base classes, -1 for none.
                Training leaves it out of what the base learner calls base classes.

        Returns:
            dict[str, Tensor]: ``final`` (B, 2, h, w), scores and not logits of a softmax; ``meta`` (B, 2, h, w) and
            ``base`` (B, 1 + N_base, h, w) logits.

        Raises:
            TypeError: When the meta head estimates no adjustment factor.
        """
        if output.adjustment is None:
            raise TypeError(
                f'{type(self.decode_head).__name__} gives no adjustment factor, which BaseLearnerEnsemble '
                'merges; use it in a FewShotSegmentor'
            )
        meta_logits, psi = output.logits.float(), output.adjustment.float()
        with torch.no_grad():
            base_logits = resize(query.outputs['base'], meta_logits.shape[-2:])
            base_foreground = self.base_foreground(base_logits, own_class)  # (B, 1, h, w)
        with without_autocast(query.device.type):  # scores of 0..1 whose differences decide
            final = self._ensemble(meta_logits, psi, base_foreground)
        return dict(final=final, meta=meta_logits, base=base_logits)

    def losses(
        self,
        output: MetaOutput,
        query: EncodedQuery,
        bank: SupportBank,
        data_samples: list[SegDataSample],
    ) -> dict[str, Tensor]:
        """``loss_final`` of the ensemble beside the meta head's own, whose ``loss_final`` is ``loss_meta`` here."""
        own_class = torch.tensor([s.metainfo['base_index'] for s in data_samples], device=query.device)
        scores = self.scores(output, query, own_class)
        labels = stack_labels(data_samples)
        size = labels.shape[-2:]
        losses = dict(loss_final=self.loss_decode(resize(scores['final'], size), labels, ignore_index=IGNORE))
        for name, loss in super().losses(output, query, bank, data_samples).items():
            losses['loss_meta' if name == 'loss_final' else name] = loss
        if self.log_base_loss:
            with torch.no_grad():
                base_labels = stack_labels(data_samples, 'gt_base_seg')
                losses['base_ce'] = self.loss_decode(resize(scores['base'], size), base_labels, ignore_index=IGNORE)
        return losses

    def foreground_probability(self, final: Tensor) -> Tensor:
        """The foreground's share of the two scores: (B, 2, ...) -> (B, ...) of 0..1, >= 0.5 exactly where it wins.

        ``final`` adds probabilities, whose softmax would never leave 0.27..0.73. Merging may push a score below zero;
        both are then raised until the lower one is zero.
        """
        raised = final - final.amin(1, keepdim=True).clamp(max=0)
        share = raised[:, 1] / raised.sum(1).clamp(min=torch.finfo(final.dtype).tiny)
        return agree_with_argmax(share, final)

    def _ensemble(self, meta_logits: Tensor, psi: Tensor, base_foreground: Tensor) -> Tensor:
        """``final`` (B, 2, h, w) from (B, 2, h, w), (B, 1, 1, 1) and (B, 1, h, w)."""
        background, own = meta_logits.softmax(1).split(1, dim=1)  # (B, 1, h, w) each
        psi = psi.expand_as(background)
        background = self.merge_adjustment(torch.cat([background, psi], dim=1))
        own = self.merge_adjustment(torch.cat([own, psi], dim=1))
        background = self.merge_base(torch.cat([background, base_foreground], dim=1))
        return torch.cat([background, own], dim=1)

    @staticmethod
    def base_foreground(base_logits: Tensor, own_class: Tensor | None = None) -> Tensor:
        """(B, 1 + N_base, h, w) -> (B, 1, h, w): probability of any base class, but for the episode's own."""
        probabilities = base_logits.softmax(1)
        total = probabilities[:, 1:].sum(1, keepdim=True)
        if own_class is None:
            return total
        # Channel 0 is background; an index of -1 (no base class) gathers it and is masked out again.
        index = (own_class + 1).view(-1, 1, 1, 1).expand_as(total)
        return total - probabilities.gather(1, index) * (index > 0)
