# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""VGG16-BN as few-shot methods use it: pools that round up, and the raw conv outputs as block features."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmfss.registry import MODELS
from mmfss.structures import STAGES, BackboneFeatures
from mmfss.utils.weights import check_init_cfg

from ..layers.folded_norm import run_folded
from ..layers.norms import eval_norms
from .stages import wanted_layers


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
        widths (Sequence[int]): Channels of the five blocks; smaller ones make a network for tests.
        norm_eval (bool): Keep BatchNorm in eval mode while training. Defaults to False.
        init_cfg (dict, optional): Initialisation config.
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
        self.stage_channels = {f'layer{i}': width for i, width in enumerate(widths)}
        self.num_blocks = dict(layer2=3, layer3=3, layer4=1)

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

    def extract_blocks(self, x: Tensor, stages: Sequence[str] = STAGES, blocks: bool = True) -> BackboneFeatures:
        """Stage and block features.

        Args:
            x (Tensor): Normalised images (N, 3, H, W).
            stages (Sequence[str]): Those to hand out, of 'layer0' to 'layer4'; nothing behind the last one is computed.
            blocks (bool): Hand out the block features too. Defaults to True.

        Returns:
            BackboneFeatures: Blocks: the three convs of block 4 (as 'layer2'), the three of block 5 (as 'layer3'), both
            before BatchNorm, and layer4's output.
        """
        layers = wanted_layers(stages, tuple(f'layer{i}' for i in range(5)), type(self).__name__)
        outputs, convs, sizes = {}, {}, {}
        for name in layers:
            if blocks and name in ('layer3', 'layer4'):
                x, convs[name] = self._with_conv_outputs(getattr(self, name), x)
            else:
                x = run_folded(getattr(self, name), x)
            outputs[name], sizes[name] = x, tuple(x.shape[-2:])
        groups = {}
        if blocks and 'layer4' in layers:
            groups = dict(layer2=convs['layer3'], layer3=convs['layer4'], layer4=(x,))
        return BackboneFeatures({name: outputs[name] for name in layers if name in stages}, groups, sizes=sizes)

    def last_stage(self, layer3: Tensor) -> Tensor:
        """layer4 alone: a layer3 map (N, C, h, w), such as a masked one -> (N, C', h, w)."""
        return run_folded(self.layer4, layer3)

    def train(self, mode: bool = True) -> 'BlockVGG':
        """As nn.Module's, with BatchNorm kept in eval mode when ``norm_eval``."""
        super().train(mode)
        if mode and self.norm_eval:
            eval_norms(self)
        return self
