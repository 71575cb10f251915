# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""VGG16 without BatchNorm as HSNet uses it: torchvision's network, pools that round down."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmfss.registry import MODELS
from mmfss.structures import STAGES, BackboneFeatures
from mmfss.utils.weights import check_init_cfg

from .stages import wanted_layers

_CONVS = (2, 2, 3, 3, 3)
_LAYERS = ('layer0', 'layer1', 'layer2', 'layer3', 'layer4')


@MODELS.register_module()
class BlockPlainVGG(BaseModule):
    """VGG16 with block features; its weights have torchvision's names (``features.0.weight``, ...).

    Each of ``layer0`` to ``layer4`` is some convolutions and a pool of floor mode: 400 -> 200, 100, 50, 25, 12.

    Args:
        widths (Sequence[int]): Channels of the five blocks; smaller ones make a network for tests.
        init_cfg (dict, optional): Initialisation config.
    """

    def __init__(self, widths: Sequence[int] = (64, 128, 256, 512, 512), init_cfg: dict | None = None):
        super().__init__(init_cfg)
        if len(widths) != 5:
            raise ValueError(f'BlockPlainVGG has five blocks, but widths={tuple(widths)}')
        layers, self._starts = [], [0]
        for before, width, convs in zip((3, *widths[:-1]), widths, _CONVS, strict=True):
            for i in range(convs):
                # Not in place: a convolution's output is a block feature.
                layers += [nn.Conv2d(before if i == 0 else width, width, 3, padding=1), nn.ReLU()]
            layers.append(nn.MaxPool2d(2, 2))
            self._starts.append(len(layers))
        self.features = nn.Sequential(*layers)
        self.stage_channels = dict(zip(_LAYERS, widths, strict=True))
        self.num_blocks = dict(layer2=3, layer3=3, layer4=1)

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
            stride) and of block 5 (as 'layer3'), and the last pool's output (as 'layer4').
        """
        layers = wanted_layers(stages, _LAYERS, type(self).__name__)
        outputs, convs, sizes = {}, {}, {}
        for i, name in enumerate(layers):
            raw = []
            for module in self.features[self._starts[i] : self._starts[i + 1]]:
                x = module(x)
                if isinstance(module, nn.Conv2d):
                    raw.append(x)
            outputs[name], convs[name], sizes[name] = x, tuple(raw), tuple(x.shape[-2:])
        groups = {}
        if blocks and 'layer4' in layers:
            groups = dict(layer2=convs['layer3'], layer3=convs['layer4'], layer4=(x,))
        return BackboneFeatures({name: outputs[name] for name in layers if name in stages}, groups, sizes=sizes)

    def last_stage(self, layer3: Tensor) -> Tensor:
        """layer4 alone: a layer3 map (N, C, h, w), such as a masked one -> (N, C', h // 2, w // 2)."""
        return self.features[self._starts[4] :](layer3)
