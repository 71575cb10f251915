# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""VGG16 as HSNet, PANet, SG-One and FWB use it: torchvision's convolutions, each method's pools and dilations."""

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
_LAYERS = ('layer0', 'layer1', 'layer2', 'layer3', 'layer4')
# Output stride -> the pools of the five blocks.
_POOLS = {8: [dict(kernel_size=3, stride=s, padding=1) for s in (2, 2, 2, 1, 1)], 32: [dict(kernel_size=2)] * 5}


def _block(
    in_channels: int, channels: int, convs: int, dilation: int, norm: bool, last_relu: bool, inplace: bool
) -> list[nn.Module]:
    """conv, norm, ReLU repeated: the indices equal those of torchvision's feature slice."""
    layers = []
    for i in range(convs):
        layers.append(nn.Conv2d(in_channels, channels, 3, padding=dilation, dilation=dilation))
        layers += [nn.BatchNorm2d(channels)] if norm else []
        layers += [nn.ReLU(inplace=inplace)] if i < convs - 1 or last_relu else []
        in_channels = channels
    return layers


@MODELS.register_module()
class PlainVGG(BaseModule):
    """VGG16 whose ``layer0`` to ``layer4`` are the five blocks with their pools.

    At output stride 8 the pools are 3x3 with padding 1 and the last two keep the size: 417 -> 209 -> 105 -> 53 -> 53 ->
    53. At output stride 32 they are torchvision's, 2x2, which round down: 400 -> 200 -> 100 -> 50 -> 25 -> 12. The
    methods differ in the rest too:

    ====== ================= =============== ============= ============= =======
    method ``output_stride`` ``dilations``   ``last_relu`` ``last_pool`` ``norm``
    ====== ================= =============== ============= ============= =======
    HSNet  32                (1, 1, 1, 1, 1) True          True          False
    PANet  8                 (1, 1, 1, 1, 2) False         False         False
    SG-One 8                 (1, 1, 1, 1, 1) True          True          False
    FWB    8                 (1, 1, 1, 2, 4) False         True          True
    ====== ================= =============== ============= ============= =======

    Args:
        output_stride (int): 8 or 32. Only 32 gives block features. Defaults to 8.
        dilations (Sequence[int]): Of the convs of each block; padding is the same. Defaults to 1 everywhere.
        last_relu (bool): Whether a ReLU follows the last conv; without it features may be negative. Defaults to True.
        last_pool (bool): Whether ``layer4`` ends with a pool. Defaults to True.
        norm (bool): BatchNorm behind every conv, as torchvision's ``vgg16_bn`` has it. Defaults to False.
        norm_eval (bool): Keep BatchNorm in eval mode while training. Defaults to False.
        widths (Sequence[int]): Channels of the five blocks; smaller ones make a network for tests.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: When ``dilations`` or ``widths`` are not five, or ``output_stride`` is neither 8 nor 32.
    """

    def __init__(
        self,
        output_stride: int = 8,
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
        if output_stride not in _POOLS:
            raise ValueError(f'output_stride of PlainVGG is {output_stride}; it must be one of {sorted(_POOLS)}')
        with_blocks = output_stride == 32
        inputs = (3, *widths[:-1])
        for i, name in enumerate(_LAYERS):
            # Not in place where a convolution's output is a block feature.
            layers = _block(
                inputs[i], widths[i], _CONVS[i], dilations[i], norm, last_relu or i < 4, inplace=not with_blocks
            )
            if last_pool or i < 4:
                layers.append(nn.MaxPool2d(**_POOLS[output_stride][i]))
            self.add_module(name, nn.Sequential(*layers))
        self.norm_eval = norm_eval
        self.stage_channels = dict(zip(_LAYERS, widths, strict=True))
        self.num_blocks = dict(layer2=3, layer3=3, layer4=1) if with_blocks else {}

    def init_weights(self) -> None:
        """Initialise; pre-trained weights must be there and must fit (:func:`mmfss.utils.weights.check_init_cfg`)."""
        check_init_cfg(self)
        super().init_weights()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> outputs of layer1 ... layer4, as mmseg's heads expect them."""
        return tuple(self.extract_blocks(x, _LAYERS[1:], blocks=False).stages.values())

    def extract_blocks(self, x: Tensor, stages: Sequence[str] = STAGES, blocks: bool = True) -> BackboneFeatures:
        """Stage and block features.

        Args:
            x (Tensor): Normalised images (N, 3, H, W).
            stages (Sequence[str]): Those to hand out, of 'layer0' to 'layer4'; nothing behind the last one is computed.
            blocks (bool): Hand out the block features too. Defaults to True.

        Returns:
            BackboneFeatures: Blocks: the raw outputs of the three convs of block 4 (as 'layer2', at half of its stage's
            stride) and of block 5 (as 'layer3'), and the last pool's output (as 'layer4'), where 'layer4' is wanted.

        Raises:
            ValueError: When a stage is unknown, or block features are asked for at output stride 8.
        """
        if blocks and not self.num_blocks:
            raise ValueError(
                'PlainVGG gives no block features at output_stride=8: use BlockVGG, or BlockResNet, with this head'
            )
        outputs, convs, sizes = {}, {}, {}
        layers = wanted_layers(stages, _LAYERS, type(self).__name__)
        for name in layers:
            if blocks:
                x, convs[name] = _with_convs(getattr(self, name), x)
            else:
                x = run_folded(getattr(self, name), x)
            sizes[name] = tuple(x.shape[-2:])
            if name in stages:
                outputs[name] = x
        groups = {}
        if blocks and 'layer4' in layers:
            groups = dict(layer2=convs['layer3'], layer3=convs['layer4'], layer4=(x,))
        return BackboneFeatures(outputs, groups, sizes=sizes)

    def last_stage(self, layer3: Tensor) -> Tensor:
        """layer4 alone: a layer3 map (N, C, h, w), such as a masked one -> (N, C', h', w')."""
        return run_folded(self.layer4, layer3)

    def train(self, mode: bool = True) -> 'PlainVGG':
        """As nn.Module's, with BatchNorm kept in eval mode when ``norm_eval``."""
        super().train(mode)
        if mode and self.norm_eval:
            eval_norms(self)
        return self


def _with_convs(layers: nn.Sequential, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Output of some layers, and what each convolution among them gives."""
    raw = []
    for layer in layers:
        x = layer(x)
        if isinstance(layer, nn.Conv2d):
            raw.append(x)
    return x, tuple(raw)
