# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""PSPNet's head with pyramid branches narrower than its bottleneck, as BAM uses it on VGG16."""

from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.psp_head import PPM
from mmseg.models.decode_heads.psp_head import PSPHead as MMSegPSPHead

from mmfss.registry import MODELS


@MODELS.register_module()
class NarrowPSPHead(MMSegPSPHead):
    """mmseg's PSPHead with a width of its own for the pyramid branches.

    mmseg gives branches and bottleneck the same ``channels``; BAM's base learner gives the branches a quarter of the
    input (VGG16: 128) and the bottleneck always 512.

    Args:
        pyramid_channels (int): Channels of each pyramid branch.
        **kwargs: Those of :class:`mmseg.models.decode_heads.PSPHead`.
    """

    def __init__(self, pyramid_channels: int, **kwargs):
        super().__init__(**kwargs)
        layer = dict(conv_cfg=self.conv_cfg, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
        self.psp_modules = PPM(
            self.pool_scales, self.in_channels, pyramid_channels, align_corners=self.align_corners, **layer
        )
        self.bottleneck = ConvModule(
            self.in_channels + len(self.pool_scales) * pyramid_channels, self.channels, 3, padding=1, **layer
        )
