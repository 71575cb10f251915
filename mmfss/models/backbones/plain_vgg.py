# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""VGG16 at output stride 8, as PANet, SG-One and FWB use it: torchvision's layers with other pools."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmfss.registry import MODELS
from mmfss.structures import STAGES, BackboneFeatures
from mmfss.utils.weights import check_init_cfg

from ..layers.folded_norm import run_folded
from ..layers.norms import eval_norms
from .stages import wanted_layers

_CONVS = (2, 2, 3, 3, 3)  # of each block
_POOL_STRIDES = (2, 2, 2, 1, 1)


def _block(in_channels: int, channels: int, convs: int, dilation: int, norm: bool, last_relu: bool) -> list[nn.Module]:
    """conv, norm, ReLU repeated: the indices equal those of torchvision's feature slice."""
    layers = []
    for i in range(convs):
        layers.append(nn.Conv2d(in_channels, channels, 3, padding=dilation, dilation=dilation))
        layers += [nn.BatchNorm2d(channels)] if norm else []
        layers += [nn.ReLU(inplace=True)] if i < convs - 1 or last_relu else []
        in_channels = channels
    return layers


@MODELS.register_module()
class PlainVGG(BaseModule):
    """VGG16 whose pools are 3x3 with padding 1 and whose last two keep the size: 417 -> 209 -> 105 -> 53 -> 53 -> 53.

    ``layer0`` to ``layer4`` are the five blocks with their pools. The methods differ in the rest:

    ====== ======================= =========== =========== =======
    method ``dilations``           ``last_relu`` ``last_pool`` ``norm``
    ====== ======================= =========== =========== =======
    PANet  (1, 1, 1, 1, 2)         False       False       False
    SG-One (1, 1, 1, 1, 1)         True        True        False
    FWB    (1, 1, 1, 2, 4)         False       True        True
    ====== ======================= =========== =========== =======

    Args:
        dilations (Sequence[int]): Of the convs of each block; padding is the same. Defaults to 1 everywhere.
        last_relu (bool): Whether a ReLU follows the last conv; without it features may be negative. Defaults to True.
        last_pool (bool): Whether ``layer4`` ends with a pool, of stride 1. Defaults to True.
        norm (bool): BatchNorm behind every conv, as torchvision's ``vgg16_bn`` has it. Defaults to False.
        norm_eval (bool): Keep BatchNorm in eval mode while training. Defaults to False.
        widths (Sequence[int]): Channels of the five blocks; smaller ones make a network for tests.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: When ``dilations`` or ``widths`` are not five.
    """

    def __init__(
        self,
        dilations: Sequence[int] = (1, 1, 1, 1, 1),
        last_relu: bool = True,
        last_pool: bool = True,
        norm: bool = False,
        norm_eval: bool = False,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if len(widths) != 5 or len(dilations) != 5:
            raise ValueError(
                f'PlainVGG has five blocks, but widths={tuple(widths)} and dilations={tuple(dilations)}: give five each'
            )
        inputs = (3, *widths[:-1])
        for i in range(5):
            layers = _block(inputs[i], widths[i], _CONVS[i], dilations[i], norm, last_relu or i < 4)
            if last_pool or i < 4:
                layers.append(nn.MaxPool2d(3, _POOL_STRIDES[i], padding=1))
            self.add_module(f'layer{i}', nn.Sequential(*layers))
        self.norm_eval = norm_eval
        self.stage_channels = {f'layer{i}': width for i, width in enumerate(widths)}
        self.num_blocks: dict[str, int] = {}

    def init_weights(self) -> None:
        """Initialise; pre-trained weights must be there and must fit (:func:`mmfss.utils.weights.check_init_cfg`)."""
        check_init_cfg(self)
        super().init_weights()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> outputs of layer1 ... layer4, as mmseg's heads expect them."""
        stages = tuple(f'layer{i}' for i in range(1, 5))
        return tuple(self.extract_blocks(x, stages, blocks=False).stages.values())

    def extract_blocks(self, x: Tensor, stages: Sequence[str] = STAGES, blocks: bool = True) -> BackboneFeatures:
        """Stage features.

        Args:
            x (Tensor): Normalised images (N, 3, H, W).
            stages (Sequence[str]): Those to hand out, of 'layer0' to 'layer4'; nothing behind the last one is computed.
            blocks (bool): Must be False: no method that reads block features uses this network.

        Returns:
            BackboneFeatures: Without block features.

        Raises:
            ValueError: When a stage is unknown, or block features are asked for.
        """
        if blocks:
            raise ValueError('PlainVGG gives no block features: use BlockVGG, or BlockResNet, with this head')
        outputs, sizes = {}, {}
        for name in wanted_layers(stages, tuple(f'layer{i}' for i in range(5)), type(self).__name__):
            x = run_folded(getattr(self, name), x)
            sizes[name] = tuple(x.shape[-2:])
            if name in stages:
                outputs[name] = x
        return BackboneFeatures(outputs, sizes=sizes)

    def last_stage(self, layer3: Tensor) -> Tensor:
        """layer4 alone: a layer3 map (N, C, h, w), such as a masked one -> (N, C', h, w)."""
        return run_folded(self.layer4, layer3)

    def train(self, mode: bool = True) -> 'PlainVGG':
        """As nn.Module's, with BatchNorm kept in eval mode when ``norm_eval``."""
        super().train(mode)
        if mode and self.norm_eval:
            eval_norms(self)
        return self
