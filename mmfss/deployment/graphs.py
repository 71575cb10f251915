# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The two graphs of a few-shot model: supports to a bank, and a query with a bank to scores."""

import copy
from collections.abc import Sequence

import torch.nn.functional as F
from mmseg.models.decode_heads.psp_head import PPM
from torch import Tensor, nn

from mmfss.models.layers import resize
from mmfss.models.layers.dilated_depthwise import DilatedDepthwiseConv2d
from mmfss.models.layers.exporting import average_grid
from mmfss.structures import SupportBank

PART = 'meta'  # the bank's part that the method itself reads; comparison heads stay behind


class SupportEncoder(nn.Module):
    """Supports of one class -> the tensors of their bank.

    Args:
        model (nn.Module): See :func:`exportable`.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def encode(self, images: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """As :meth:`forward`, by name."""
        labels = masks.unsqueeze(1)  # (K, 1, H, W)
        tensors = self.model.decode_head.encode_support(self.model.support_features(images, labels), labels)
        return {name: t.unsqueeze(0) for name, t in tensors.items()}

    def forward(self, images: Tensor, masks: Tensor) -> tuple[Tensor, ...]:
        """(K, 3, H, W) normalised images and (K, H, W) float labels 0, 1, 255 -> tensors (1, K, ...)."""
        return tuple(self.encode(images, masks).values())


class QuerySegmenter(nn.Module):
    """A query and a bank -> scores at the query's size.

    Args:
        model (nn.Module): See :func:`exportable`.
        names (Sequence[str]): Of the bank's tensors, in the order of :class:`SupportEncoder`.
    """

    def __init__(self, model: nn.Module, names: Sequence[str]):
        super().__init__()
        self.model, self.names = model, tuple(names)

    def forward(self, query: Tensor, *bank: Tensor) -> Tensor:
        """(1, 3, H, W) normalised image and the tensors (1, K, ...) -> scores (1, 2, H, W), background first."""
        whole = SupportBank.merge({PART: dict(zip(self.names, bank, strict=True))})
        return resize(self.model.segment(self.model.extract_feat(query), whole)['final'], query.shape[-2:])


class RecordablePPM(PPM):
    """mmseg's pyramid pooling for any image size: ONNX pools to a fixed grid only where the size divides by it."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, C, h, w) -> one map (N, C', h, w) for each pool scale."""
        return [
            F.interpolate(
                conv(average_grid(x, pool.output_size)), x.shape[-2:], mode='bilinear', align_corners=self.align_corners
            )
            for pool, conv in self
        ]


class RecordableSameConv(nn.Conv2d):
    """TensorFlow's 'same' padding at stride 2, as timm's Conv2dSame has it, without a maximum over sizes.

    A side of i pixels is padded by k // 2 behind and by one less or as much in front, as i is even or odd. Nested over
    three such layers timm's formula keeps torch.export busy for many minutes.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', ceil(H / 2), ceil(W / 2))."""
        half = self.kernel_size[0] // 2
        height, width = x.shape[-2:]
        x = F.pad(x, (half, half + 1, half, half + 1))
        x = x.narrow(2, 1 - height % 2, height + 2 * half).narrow(3, 1 - width % 2, width + 2 * half)
        return F.conv2d(x, self.weight, self.bias, self.stride, groups=self.groups)

    @staticmethod
    def fits(conv: nn.Module) -> bool:
        """Whether a layer is of this kind."""
        return (
            type(conv).__name__ == 'Conv2dSame'
            and isinstance(conv, nn.Conv2d)
            and conv.stride == (2, 2)
            and conv.dilation == (1, 1)
            and conv.kernel_size in ((3, 3), (5, 5), (7, 7))
        )


def exportable(model: nn.Module) -> nn.Module:
    """A copy of a model in float32 on the CPU whose graph can be recorded; its scores differ by rounding only.

    Args:
        model (nn.Module): A FewShotSegmentor.

    Raises:
        ValueError: When its precision is 'bfloat16'.
    """
    if model.precision == 'bfloat16':
        raise ValueError("graphs are float32: leave precision='bfloat16' out of the model (its config's `precision`)")
    model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    model.precision = 'float32'
    model.feature_cache, model.comparison_heads = None, nn.ModuleDict()
    for module in model.modules():
        if getattr(module, 'compute_dtype', None):
            module.compute_dtype = None
        if type(module) is PPM:
            module.__class__ = RecordablePPM
        elif RecordableSameConv.fits(module):
            module.__class__ = RecordableSameConv
        elif type(module) is DilatedDepthwiseConv2d:  # its detour is for one library; runtimes have their own
            module.__class__ = nn.Conv2d
    return model
