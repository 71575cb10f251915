# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The head of a base learner as a source of features: what its classifier sees."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor

from mmfss.registry import MODELS

from ..layers.pyramid_taps import psp_feature


@MODELS.register_module()
class BaseLearnerNeck(BaseModule):
    """Makes the map that a base learner classifies, such as PSPNet's bottleneck.

    The checkpoint of a base learner, or of a method that was trained with one, fits a segmentor with this neck.

    Args:
        base_head (dict): Config of the base learner's head, as stage 1 has it (mmseg's PSPHead). Its classifier is
            kept, without use.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        TypeError: When the head makes no map before its classifier.
    """

    def __init__(self, base_head: dict, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        # Its loss is not used; mmseg's default one warns when it is built.
        quiet = dict(loss_decode=dict(type='mmseg.CrossEntropyLoss', avg_non_ignore=True))
        self.base_head = MODELS.build({**quiet, **base_head})
        if not hasattr(self.base_head, '_forward_feature'):
            raise TypeError(
                f'base_head {type(self.base_head).__name__} makes no map before its classifier; use one of mmseg '
                'that has _forward_feature, such as PSPHead'
            )

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """The map (N, channels, h, w) of the backbone's stages, each (N, C, h, w)."""
        return psp_feature(self.base_head, stages)
