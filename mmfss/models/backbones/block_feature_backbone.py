# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Block features of any OpenMMLab backbone, read by forward hooks on modules that a config names."""

import re
from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import Tensor

from mmfss.registry import MODELS
from mmfss.utils.precision import autocast_to
from mmfss.utils.weights import check_init_cfg

from ..layers.dilated_depthwise import speed_up_dilated_depthwise
from .features import BackboneFeatures


def _as_map(output, size: tuple[int, int], name: str) -> Tensor:
    """A hooked module's output as (N, C, h, w); token outputs (N, L, C) take the stage's size (h, w)."""
    if isinstance(output, (tuple, list)):
        output = output[0]
    if output.dim() == 3:  # (N, L, C) tokens of a transformer, perhaps after class tokens
        h, w = size
        extra = output.shape[1] - h * w
        if extra < 0:
            raise ValueError(
                f"block '{name}' gives {output.shape[1]} tokens, its stage has {h}x{w} positions; "
                'name blocks of the same resolution as their stage'
            )
        output = output[:, extra:].transpose(1, 2).unflatten(2, (h, w))  # (N, C, h, w)
    if output.dim() != 4:
        raise ValueError(f"block '{name}' gives shape {tuple(output.shape)}; expected (N, C, h, w) or (N, L, C)")
    return output.float()


@MODELS.register_module()
class BlockFeatureBackbone(BaseModule):
    r"""Wraps a backbone of mmseg, mmpretrain, timm, ... and adds ``extract_blocks``.

    Swapping the backbone of a method is this wrapper in three lines of config::

        backbone=dict(type='BlockFeatureBackbone',
                      backbone=dict(type='mmpretrain.RegNet', arch='regnetx_400mf', out_indices=(1, 2, 3)),
                      blocks=([r'layer2\.\d+'], [r'layer3\.\d+'], [r'layer4\.\d+']))

    Args:
        backbone (dict): config of the backbone; its forward gives a tuple of feature maps.
        blocks (Sequence[Sequence[str]]): for layer2, layer3 and layer4 the regular expressions that its blocks' module
            names match in full (names as in ``named_modules()`` of the backbone).
        out_indices (Sequence[int]): which three outputs of the backbone are layer2, layer3, layer4.
            Defaults to the last three.
        norm_eval (bool): keep BatchNorm in eval mode while training (its statistics are good when the weights are
            pre-trained and batches small). Defaults to False.
        frozen (bool): no gradients for any of its weights, BatchNorm in eval mode. Defaults to False.
        compute_dtype (str, optional): run the backbone under autocast to 'bfloat16' or 'float16'; features come out as
            float32. 'auto' is bfloat16 on devices that compute in it, where it is about three times as fast and exact
            enough for frozen features. Defaults to None: float32.
        probe_size (int): side of the image that is run through once to learn channels. Defaults to 64.
        init_cfg (dict, optional): initialisation config.

    Raises:
        ValueError: when a pattern matches no module or the backbone has too few outputs.
    """

    def __init__(
        self,
        backbone: dict,
        blocks: Sequence[Sequence[str]],
        out_indices: Sequence[int] = (-3, -2, -1),
        norm_eval: bool = False,
        frozen: bool = False,
        compute_dtype: str | None = None,
        probe_size: int = 64,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if len(blocks) != 3 or len(out_indices) != 3:
            raise ValueError(
                'blocks and out_indices need three entries each (layer2, layer3, layer4), got '
                f'{blocks} and {out_indices}'
            )
        self.backbone = MODELS.build(backbone)
        self.out_indices = tuple(out_indices)
        self.norm_eval, self.frozen = norm_eval or frozen, frozen
        self.compute_dtype = compute_dtype
        speed_up_dilated_depthwise(self.backbone)
        names = [name for name, _ in self.backbone.named_modules()]
        self.block_names: list[list[str]] = []
        for group in blocks:
            found = [n for n in names if any(re.fullmatch(pattern, n) for pattern in group)]
            if not found:
                raise ValueError(
                    f'no module of {type(self.backbone).__name__} matches blocks={list(group)}; it has '
                    f'e.g. {[n for n in names if n][:12]}'
                )
            self.block_names.append(found)
        self.num_blocks = tuple(len(group) for group in self.block_names)
        if frozen:
            self.requires_grad_(False)
        self.stage_channels = self._probe(probe_size)
        self.to(memory_format=torch.channels_last)  # the layout in which convolutions run fastest

    def _probe(self, size: int) -> tuple[int, ...]:
        """Channels of the three stages, learnt from one small image in eval mode (no statistics change)."""
        modes = {m: m.training for m in self.backbone.modules()}
        self.backbone.eval()
        with torch.no_grad():
            features = self.extract_blocks(torch.zeros(1, 3, size, size))
        for module, mode in modes.items():
            module.training = mode
        return tuple(stage.shape[1] for stage in features.stages)

    def init_weights(self) -> None:
        """Initialise the backbone; pre-trained weights must be there and must fit.

        Raises:
            FileNotFoundError: when the checkpoint file is missing.
            RuntimeError: when weights of the backbone are missing in it.
        """
        check_init_cfg(self.backbone)
        super().init_weights()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> the backbone's own outputs, three stages of them."""
        with autocast_to(self.compute_dtype, x.device):
            outs = self.backbone(x)
        if len(outs) < 3:
            raise ValueError(
                f'{type(self.backbone).__name__} gives {len(outs)} feature map(s), three stages are '
                "needed: set its 'out_indices'"
            )
        return tuple(outs[i].float() if self.compute_dtype else outs[i] for i in self.out_indices)

    def extract_blocks(self, x: Tensor) -> BackboneFeatures:
        """Stage and block features.

        Args:
            x (Tensor): normalised images (N, 3, H, W).

        Returns:
            BackboneFeatures: the outputs of the named modules as blocks.
        """
        outputs, handles = {}, []
        modules = dict(self.backbone.named_modules())
        for name in (n for group in self.block_names for n in group):
            handles.append(
                modules[name].register_forward_hook(lambda _, __, output, name=name: outputs.__setitem__(name, output))
            )
        try:
            stages = self.forward(x)
        finally:
            for handle in handles:
                handle.remove()
        blocks = tuple(
            tuple(_as_map(outputs[n], stage.shape[-2:], n) for n in group)
            for group, stage in zip(self.block_names, stages, strict=True)
        )
        h, w = blocks[0][0].shape[-2:]
        return BackboneFeatures(stages, blocks, mask_sizes=((2 * h, 2 * w),))

    def train(self, mode: bool = True) -> 'BlockFeatureBackbone':
        """As nn.Module's, with BatchNorm (norm_eval) or everything (frozen) kept in eval mode."""
        super().train(mode and not self.frozen)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self
