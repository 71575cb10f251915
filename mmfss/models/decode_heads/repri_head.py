# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""RePRI (Boudiaf et al., CVPR 2021): no meta-training, a linear classifier is fitted to each episode."""

from collections.abc import Callable, Mapping, Sequence

import torch
from mmseg.structures import SegDataSample
from torch import Tensor

from mmfss.registry import MODELS
from mmfss.structures import BackboneFeatures, SupportBank

from ..layers import FitRecipe, fit_classifier, resize, unit_length
from ..layers.masks import FOREGROUND, resize_nearest
from .base_meta_head import IGNORE, BaseMetaHead, MetaOutput


@MODELS.register_module()
class RePRIHead(BaseMetaHead):
    """Fits a classifier to the supports and the query of each episode, see :mod:`mmfss.models.layers.transductive_fit`.

    It has no weights and stores all of a support: its feature map at unit length and its labels. A shot without a
    labelled pixel does not count in K.

    Args:
        stages (Sequence[str]): Whose maps are classified: each scaled to unit length, joined at the size of the first.
            Defaults to none: the map of the segmentor's neck, which is the base learner's head there (BaseLearnerNeck).
        valid (str): Which pixels of the query the fit counts. 'padding': all but padding, which is known of any image.
            'truth': all that the query's own annotation does not call void, as the released code does. That reads the
            labels of the test images, so it is for reproducing numbers alone. Defaults to 'padding'.
        oracle (bool): Tell the fit the true share of foreground, and never estimate it: RePRI's bound, which reads the
            labels of the test images. Defaults to False.
        nearest (bool): Tell the fit what share is nearer to the supports' mean foreground than to their mean
            background, and never estimate it. Not RePRI's: for features that no base learner has shaped. Defaults to
            False.
        oracle_error (float): Relative error of the share that is told, the result cut to 0..1. Defaults to 0.
        recipe (Mapping, optional): Fields of :class:`mmfss.models.layers.FitRecipe` that differ from its defaults.
        **kwargs: See :class:`BaseMetaHead`.

    Raises:
        ValueError: When there is no such stage, no such ``valid``, or the recipe is impossible.
    """

    def __init__(
        self,
        stages: Sequence[str] = (),
        valid: str = 'padding',
        oracle: bool = False,
        nearest: bool = False,
        oracle_error: float = 0.0,
        recipe: Mapping | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not set(stages) <= {'layer1', 'layer2', 'layer3', 'layer4'}:
            raise ValueError(f"stages={stages!r}: choose of 'layer1' to 'layer4', or none for the map of the neck")
        if oracle and nearest:
            raise ValueError('oracle and nearest both tell the share of foreground: choose one')
        if valid not in ('padding', 'truth'):
            raise ValueError(f"valid={valid!r}: choose 'padding' or 'truth'")
        self.stages, self.valid = tuple(stages), valid
        self.oracle, self.oracle_error, self.nearest = oracle, oracle_error, nearest
        self.recipe = FitRecipe(**(recipe or {}))
        self.query_stages = self.support_stages = self.stages or ('layer4',)  # the neck reads the last

    def encode_support(self, features: BackboneFeatures, labels: Tensor) -> dict[str, Tensor]:
        """``features`` (N, C, h, w) at unit length, and ``labels`` (N, h, w) uint8: 0, 1, 255."""
        maps = self._maps(features)
        small = resize_nearest(labels.float(), maps.shape[-2:]).squeeze(1)
        return dict(features=maps, labels=small.to(torch.uint8))

    def encode_query(self, features: BackboneFeatures) -> BackboneFeatures:
        """See :meth:`BaseMetaHead.encode_query`: ``maps`` (B, C, h, w) at unit length."""
        return features.keep(extras=dict(maps=self._maps(features)))

    def forward(self, features: BackboneFeatures, bank: SupportBank) -> MetaOutput:
        """Logits (B, 2, h, w): 0 and the fitted classifier's; ``logits`` without its bias, ``bias`` and ``proportion``.

        Raises:
            ValueError: When the options ask for the truth and there is none.
        """
        fitted = fit_classifier(**self.problem(features, bank), recipe=self.recipe)
        logits = fitted.logits(features.extras['maps'].float())  # (B, h, w)
        foreground = logits - fitted.bias[:, None, None]
        auxiliary = dict(logits=logits, bias=fitted.bias, proportion=fitted.proportion, weight=fitted.weight)
        return MetaOutput(torch.stack([torch.zeros_like(foreground), foreground], dim=1), auxiliary=auxiliary)

    def problem(self, features: BackboneFeatures, bank: SupportBank) -> dict[str, Tensor | str | None]:
        """What :func:`mmfss.models.layers.fit_classifier` takes of the episodes.

        Raises:
            ValueError: When the options ask for the truth and there is none.
        """
        maps = features.extras['maps']
        padding = resize_nearest(features.padding.float(), maps.shape[-2:]).squeeze(1) > 0.5  # (B, h, w)
        truth = self._truth(features, bank, maps.shape[-2:])
        return dict(
            query=maps,
            support=bank['features'],
            labels=bank['labels'],
            valid=truth != IGNORE if self.valid == 'truth' else ~padding,
            proportion=self._told(truth) if self.oracle else 'nearest' if self.nearest else None,
        )

    def loss(
        self,
        output: MetaOutput,
        bank: SupportBank,
        data_samples: Sequence[SegDataSample],
        loss_decode: Callable[..., Tensor],
    ) -> dict[str, Tensor]:
        """There is none.

        Raises:
            NotImplementedError: When it is called.
        """
        raise NotImplementedError(
            'RePRI is not trained with episodes: its base learner is, as an ordinary segmentor. tools/train.py CONFIG '
            'trains that one, see configs/repri/README.md'
        )

    def open_dims(self) -> dict[str, tuple[int, ...]]:
        """Maps at the size of the supports."""
        return dict(features=(-2, -1), labels=(-2, -1))

    def _maps(self, features: BackboneFeatures) -> Tensor:
        if self.stages:
            maps = [unit_length(features[stage]) for stage in self.stages]
            return unit_length(torch.cat([resize(m, maps[0].shape[-2:]) for m in maps], dim=1))
        if features.neck is None:
            raise ValueError(
                "RePRIHead reads the segmentor's neck, which is not there: give one (type='BaseLearnerNeck'), or the "
                "head stages=('layer3', 'layer4')"
            )
        return unit_length(features.neck)

    def _truth(self, features: BackboneFeatures, bank: SupportBank, size: Sequence[int]) -> Tensor | None:
        """(B, h, w): the queries' annotations at feature size, where an option reads them."""
        if self.valid == 'padding' and not self.oracle:
            return None
        truth = bank.summary.get('query_labels')  # (B, H, W)
        if truth is None or tuple(truth.shape[-2:]) != tuple(features.image_size):
            raise ValueError(
                "RePRIHead: valid='truth' and oracle=True read the queries' annotations, which only an evaluation at "
                'network size has: set model.data_preprocessor.query_labels=True and test whole images under a '
                "protocol with ground_truth='network'"
            )
        return resize_nearest(truth.unsqueeze(1).float(), size).squeeze(1)

    def _told(self, truth: Tensor) -> Tensor:
        """True share of background and foreground, (B, 2)."""
        labelled = (truth != IGNORE).flatten(1).sum(1).clamp(min=1)
        share = (truth == FOREGROUND).flatten(1).sum(1) / labelled
        share = (share * (1 + self.oracle_error)).clamp(0, 1)
        return torch.stack([1 - share, share], dim=1)
