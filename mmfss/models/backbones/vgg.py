# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""VGG16-BN as few-shot methods use it: pools that round up, and the raw conv outputs as block features."""

from mmengine.model import BaseModule
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import Tensor, nn

from mmfss.registry import MODELS
from mmfss.utils.weights import check_init_cfg

from .features import BackboneFeatures


def _vgg_block(in_channels: int, channels: int, num_convs: int, pool: bool) -> nn.Sequential:
    """conv, BN, ReLU repeated, then a 2x2 max pool: the indices equal those of torchvision's feature slice."""
    layers = []
    for _ in range(num_convs):
        layers += [nn.Conv2d(in_channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
        in_channels = channels
    if pool:
        layers.append(nn.MaxPool2d(2, 2, ceil_mode=True))
    return nn.Sequential(*layers)


@MODELS.register_module()
class BlockVGG(BaseModule):
    """VGG16-BN with block features (MSANet on VGG16; layout after PFENet's backbone).

    ``layer0`` to ``layer3`` end with a pool of ceil mode, ``layer4`` has none: 473 -> 237 -> 119 -> 60 -> 30 -> 30.

    Args:
        widths (Sequence[int]): channels of the five blocks; smaller ones make a network for tests.
        norm_eval (bool): keep BatchNorm in eval mode while training. Defaults to False.
        init_cfg (dict, optional): initialisation config.
    """

    def __init__(
        self, widths: tuple[int, ...] = (64, 128, 256, 512, 512), norm_eval: bool = False, init_cfg: dict | None = None
    ):
        super().__init__(init_cfg)
        if len(widths) != 5:
            raise ValueError(f'BlockVGG has five blocks, but widths={tuple(widths)}')
        inputs, convs = (3, *widths[:-1]), (2, 2, 3, 3, 3)
        for i, (c_in, c_out, n) in enumerate(zip(inputs, widths, convs, strict=True)):
            self.add_module(f'layer{i}', _vgg_block(c_in, c_out, n, pool=i < 4))
        self.norm_eval = norm_eval
        self.stage_channels = tuple(widths[2:])
        self.num_blocks = (3, 3, 1)

    def init_weights(self) -> None:
        """Initialise; pre-trained weights must be there and must fit (:func:`mmfss.utils.weights.check_init_cfg`)."""
        check_init_cfg(self)
        super().init_weights()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> outputs of layer1 ... layer4, as mmseg's heads expect them."""
        outs = []
        for i in range(5):
            x = getattr(self, f'layer{i}')(x)
            outs.append(x)
        return tuple(outs[1:])

    @staticmethod
    def _with_conv_outputs(layer: nn.Sequential, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The layer's output and the raw output of each of its convs."""
        convs = []
        for module in layer:
            x = module(x)
            if isinstance(module, nn.Conv2d):
                convs.append(x)
        return x, tuple(convs)

    def extract_blocks(self, x: Tensor) -> BackboneFeatures:
        """Stage and block features.

        Args:
            x (Tensor): normalised images (N, 3, H, W).

        Returns:
            BackboneFeatures: stages layer2, layer3, layer4; blocks: the three convs of block 4, the three of block 5
            (both before BatchNorm), and layer4's output.
        """
        layer2 = self.layer2(self.layer1(self.layer0(x)))
        layer3, block4 = self._with_conv_outputs(self.layer3, layer2)
        layer4, block5 = self._with_conv_outputs(self.layer4, layer3)
        h, w = block4[0].shape[-2:]
        return BackboneFeatures((layer2, layer3, layer4), (block4, block5, (layer4,)), mask_sizes=((2 * h, 2 * w),))

    def train(self, mode: bool = True) -> 'BlockVGG':
        """As nn.Module's, with BatchNorm kept in eval mode when ``norm_eval``."""
        super().train(mode)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self
