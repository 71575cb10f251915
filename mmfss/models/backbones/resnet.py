# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""ResNets that also give their block features before the last ReLU (MSANet, Iqbal et al. 2022, section 3.2)."""

from collections.abc import Sequence

from mmseg.models.backbones.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor

from mmfss.registry import MODELS
from mmfss.structures import STAGES, BackboneFeatures, BlockVisitor
from mmfss.utils.weights import check_init_cfg

from ..layers.folded_norm import conv_norm, run_folded
from .stages import wanted_layers


class BlockBasicBlock(BasicBlock):
    """mmseg's BasicBlock whose residual sum can be read."""

    def residual_sum(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C', h', w'): the block's output before its last ReLU."""
        out = self.relu(conv_norm(self.conv1, self.norm1, x))
        out = conv_norm(self.conv2, self.norm2, out)
        return out.add_(x if self.downsample is None else run_folded(self.downsample, x))


class BlockBottleneck(Bottleneck):
    """mmseg's Bottleneck whose residual sum can be read."""

    def residual_sum(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C', h', w'): the block's output before its last ReLU."""
        out = self.relu(conv_norm(self.conv1, self.norm1, x))
        out = self.relu(conv_norm(self.conv2, self.norm2, out))
        out = conv_norm(self.conv3, self.norm3, out)
        return out.add_(x if self.downsample is None else run_folded(self.downsample, x))


@MODELS.register_module()
class BlockResNet(ResNet):
    """mmseg's ResNet with block features.

    Its parameters, checkpoint keys and ``forward`` are mmseg's; :meth:`extract_blocks` gives in addition the residual
    sum of every block. The backbone of the paper (PSPNet's deep stem, output stride 8) is
    ``BlockResNet(depth, deep_stem=True, stem_channels=128, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))``.

    Args:
        depth (int): 18, 34, 50, 101 or 152.
        **kwargs: Those of :class:`mmseg.models.backbones.ResNet`; four stages are required, plugins and deformable
            convolutions have no place in a residual sum and are refused.
    """

    visits_blocks = True
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
    def stage_channels(self) -> dict[str, int]:
        """Stage -> channels of its output."""
        return {f'layer{i + 1}': self.block.expansion * self.base_channels * 2**i for i in range(4)}

    @property
    def num_blocks(self) -> dict[str, int]:
        """Stage -> number of its blocks."""
        return {f'layer{i + 1}': count for i, count in enumerate(self.stage_blocks)}

    def extract_blocks(
        self, x: Tensor, stages: Sequence[str] = STAGES, blocks: bool = True, visit: BlockVisitor | None = None
    ) -> BackboneFeatures:
        """Stage and block features.

        Args:
            x (Tensor): Normalised images (N, 3, H, W).
            stages (Sequence[str]): Those to hand out, of 'layer1' to 'layer4'; nothing behind the last one is computed.
            blocks (bool): Hand out the block features too: of layer2 to the last stage, and of layer1 where that is
                asked for. Defaults to True.
            visit (BlockVisitor, optional): Is given each of them, and what it returns is handed out instead: the maps
                of all blocks take ten times the memory of the stages. It keeps no view of them.

        Returns:
            BackboneFeatures: Stages after their last ReLU, blocks before it.
        """
        layers = wanted_layers(stages, ('layer1', 'layer2', 'layer3', 'layer4'), type(self).__name__)
        x = run_folded(self.stem, x) if self.deep_stem else self.relu(conv_norm(self.conv1, self.norm1, x))
        x = self.maxpool(x)
        outputs, sums, sizes = {}, {}, {}
        for name in layers:
            keep = blocks and (name != 'layer1' or name in stages)
            group = []
            for block in getattr(self, name):
                total = block.residual_sum(x)
                if keep:
                    group.append(total if visit is None else visit(name, total, sizes))
                x = total.relu() if keep and visit is None else total.relu_()  # a block feature is the sum itself
            outputs[name], sizes[name] = x, tuple(x.shape[-2:])
            if keep:
                sums[name] = tuple(group)
        return BackboneFeatures({name: outputs[name] for name in layers if name in stages}, sums, sizes=sizes)

    def last_stage(self, layer3: Tensor) -> Tensor:
        """layer4 alone: a layer3 map (N, C, h, w), such as a masked one -> (N, C', h', w')."""
        x = layer3
        for block in self.layer4:
            x = block.residual_sum(x).relu_()
        return x

    def train(self, mode: bool = True) -> 'BlockResNet':
        """As nn.Module's: mmseg's version forgets to return the module."""
        super().train(mode)
        return self
