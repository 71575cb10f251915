# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""ResNets that also give their block features before the last ReLU (MSANet, Iqbal et al. 2022, section 3.2)."""

from mmseg.models.backbones.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor

from mmfss.registry import MODELS
from mmfss.utils.weights import check_init_cfg

from .features import BackboneFeatures


class BlockBasicBlock(BasicBlock):
    """mmseg's BasicBlock whose residual sum can be read."""

    def residual_sum(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C', h', w'): the block's output before its last ReLU."""
        out = self.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        return out + (x if self.downsample is None else self.downsample(x))


class BlockBottleneck(Bottleneck):
    """mmseg's Bottleneck whose residual sum can be read."""

    def residual_sum(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C', h', w'): the block's output before its last ReLU."""
        out = self.relu(self.norm1(self.conv1(x)))
        out = self.relu(self.norm2(self.conv2(out)))
        out = self.norm3(self.conv3(out))
        return out + (x if self.downsample is None else self.downsample(x))


@MODELS.register_module()
class BlockResNet(ResNet):
    """mmseg's ResNet with block features.

    Its parameters, checkpoint keys and ``forward`` are mmseg's; :meth:`extract_blocks` gives in addition the residual
    sum of every block. The backbone of the paper (PSPNet's deep stem, output stride 8) is
    ``BlockResNet(depth, deep_stem=True, stem_channels=128, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))``.

    Args:
        depth (int): 18, 34, 50, 101 or 152.
        **kwargs: those of :class:`mmseg.models.backbones.ResNet`; four stages are required, plugins and deformable
            convolutions have no place in a residual sum and are refused.
    """

    arch_settings = {
        18: (BlockBasicBlock, (2, 2, 2, 2)),
        34: (BlockBasicBlock, (3, 4, 6, 3)),
        50: (BlockBottleneck, (3, 4, 6, 3)),
        101: (BlockBottleneck, (3, 4, 23, 3)),
        152: (BlockBottleneck, (3, 8, 36, 3)),
    }

    def __init__(self, depth: int, **kwargs):
        if kwargs.get('num_stages', 4) != 4:
            raise ValueError(f'BlockResNet needs all four stages, but num_stages={kwargs["num_stages"]}')
        if kwargs.get('plugins') is not None or kwargs.get('dcn') is not None:
            raise ValueError('BlockResNet reads residual sums and takes neither plugins nor dcn')
        super().__init__(depth, **kwargs)

    def init_weights(self) -> None:
        """Initialise; pre-trained weights must be there and must fit (:func:`mmfss.utils.weights.check_init_cfg`)."""
        check_init_cfg(self)
        super().init_weights()

    @property
    def stage_channels(self) -> tuple[int, int, int]:
        """Channels of the outputs of layer2, layer3 and layer4."""
        return tuple(self.block.expansion * self.base_channels * 2**i for i in (1, 2, 3))

    @property
    def num_blocks(self) -> tuple[int, int, int]:
        """Number of block features of layer2, layer3 and layer4."""
        return tuple(self.stage_blocks[1:])

    def extract_blocks(self, x: Tensor) -> BackboneFeatures:
        """Stage and block features.

        Args:
            x (Tensor): normalised images (N, 3, H, W).

        Returns:
            BackboneFeatures: stages after their last ReLU, blocks before it.
        """
        x = self.stem(x) if self.deep_stem else self.relu(self.norm1(self.conv1(x)))
        x = self.layer1(self.maxpool(x))
        h, w = x.shape[-2:]
        stages, blocks = [], []
        for layer in (self.layer2, self.layer3, self.layer4):
            group = []
            for block in layer:
                group.append(block.residual_sum(x))
                x = group[-1].relu()  # not in place: the sum itself is a block feature
            blocks.append(tuple(group))
            stages.append(x)
        # The released code resizes the mask to twice layer1's side and to layer1's side on its way down.
        return BackboneFeatures(tuple(stages), tuple(blocks), mask_sizes=((2 * h, 2 * w), (h, w)))

    def train(self, mode: bool = True) -> 'BlockResNet':
        """As nn.Module's: mmseg's version forgets to return the module."""
        super().train(mode)
        return self
