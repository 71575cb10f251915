# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Block features of any OpenMMLab backbone, read by forward hooks on modules that a config names."""

import re
from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor

from mmfss.registry import MODELS
from mmfss.structures import STAGES, BackboneFeatures
from mmfss.utils.precision import autocast_to
from mmfss.utils.weights import check_init_cfg

from ..layers.dilated_depthwise import speed_up_dilated_depthwise
from ..layers.norms import eval_norms
from .stages import wanted_layers

_NUMBERS = {3: 'three', 4: 'four'}


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
        backbone (dict): Config of the backbone; its forward gives a tuple of feature maps.
        blocks (Sequence[Sequence[str]]): For layer2, layer3 and layer4, or for all four, the regular expressions that
            its blocks' module names match in full (names as in ``named_modules()`` of the backbone).
        out_indices (Sequence[int]): Which three outputs of the backbone are layer2, layer3, layer4, or which four with
            layer1. Defaults to the last three.
        norm_eval (bool): Keep BatchNorm in eval mode while training (its statistics are good when the weights are
            pre-trained and batches small). Defaults to False.
        frozen (bool): No gradients for any of its weights, BatchNorm in eval mode. Defaults to False.
        compute_dtype (str, optional): Run the backbone under autocast to 'bfloat16' or 'float16'; features come out as
            float32. 'auto' is bfloat16 on devices that compute in it, where it is about three times as fast and exact
            enough for frozen features. Defaults to None: float32.
        probe_size (int): Side of the image that is run through once to learn channels. Defaults to 64.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: When a pattern matches no module or the backbone has too few outputs.
    """

    def __init__(
        self,
        backbone: dict,
        blocks: Sequence[Sequence[str]] | None = None,
        out_indices: Sequence[int] = (-3, -2, -1),
        last_stage: Sequence[str] | None = None,
        norm_eval: bool = False,
        frozen: bool = False,
        compute_dtype: str | None = None,
        probe_size: int = 64,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if len(out_indices) not in (3, 4) or (blocks is not None and not 3 <= len(blocks) <= len(out_indices)):
            raise ValueError(
                'blocks and out_indices need three entries (layer2, layer3, layer4), or four with layer1 (out_indices '
                f'wherever blocks have four); got {blocks} and {out_indices}'
            )
        self.backbone = MODELS.build(backbone)
        self.out_indices = tuple(out_indices)
        self.layers = ('layer1', *STAGES)[-len(self.out_indices) :]
        self.norm_eval, self.frozen = norm_eval or frozen, frozen
        self.compute_dtype = compute_dtype
        speed_up_dilated_depthwise(self.backbone)
        blocks = blocks or ()
        self.block_names = {
            stage: self._matching(group, 'blocks')
            for stage, group in zip(('layer1', *STAGES)[4 - len(blocks) :], blocks, strict=True)
        }
        self.num_blocks = {stage: len(names) for stage, names in self.block_names.items()}
        self.last_stage_names = self._matching(last_stage, 'last_stage') if last_stage else []
        if frozen:
            self.requires_grad_(False)
        self.stage_channels = self._probe(probe_size)
        self.to(memory_format=torch.channels_last)  # the layout in which convolutions run fastest

    def _matching(self, patterns: Sequence[str], argument: str) -> list[str]:
        """Names of the backbone's modules that match, in their order."""
        names = [name for name, _ in self.backbone.named_modules()]
        found = [n for n in names if any(re.fullmatch(pattern, n) for pattern in patterns)]
        if not found:
            raise ValueError(
                f'no module of {type(self.backbone).__name__} matches {argument}={list(patterns)}; it has '
                f'e.g. {[n for n in names if n][:12]}'
            )
        return found

    def _probe(self, size: int) -> dict[str, int]:
        """Channels of the stages, learnt from one small image in eval mode (no statistics change)."""
        modes = {m: m.training for m in self.backbone.modules()}
        self.backbone.eval()
        with torch.no_grad():
            # Zeros may leave a map of zeros, on which every last stage would look right.
            image = torch.linspace(-1, 1, 3 * size * size).view(1, 3, size, size)
            features = self.extract_blocks(image, self.layers, bool(self.block_names))
            if self.last_stage_names:
                self._check_last_stage(features)
        for module, mode in modes.items():
            module.training = mode
        return {name: stage.shape[1] for name, stage in features.stages.items()}

    def _check_last_stage(self, features: BackboneFeatures) -> None:
        expected = features['layer4']
        try:
            found = self.last_stage(features['layer3'])
        except (RuntimeError, TypeError) as error:
            raise ValueError(f'last_stage={self.last_stage_names} does not run on layer3: {error}') from error
        if found.shape != expected.shape or (found - expected).abs().max() > 1e-2 * expected.abs().max():
            raise ValueError(f'last_stage={self.last_stage_names} does not make layer4 of layer3: name all its modules')

    def init_weights(self) -> None:
        """Initialise the backbone; pre-trained weights must be there and must fit.

        Raises:
            FileNotFoundError: When the checkpoint file is missing.
            RuntimeError: When weights of the backbone are missing in it.
        """
        check_init_cfg(self.backbone)
        super().init_weights()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> the backbone's own outputs, a map for each of ``out_indices``."""
        with autocast_to(self.compute_dtype, x.device):
            outs = self.backbone(x)
        if len(outs) < len(self.out_indices):
            raise ValueError(
                f'{type(self.backbone).__name__} gives {len(outs)} feature map(s), {_NUMBERS[len(self.out_indices)]} '
                "stages are needed: set its 'out_indices'"
            )
        return tuple(outs[i].float() if self.compute_dtype else outs[i] for i in self.out_indices)

    def extract_blocks(self, x: Tensor, stages: Sequence[str] = STAGES, blocks: bool = True) -> BackboneFeatures:
        """Stage and block features. The whole backbone runs, whichever stages are asked for.

        Args:
            x (Tensor): Normalised images (N, 3, H, W).
            stages (Sequence[str]): Those to hand out.
            blocks (bool): Hand out the block features too, those of layer1 where it is asked for. Defaults to True.

        Returns:
            BackboneFeatures: The outputs of the named modules as blocks.

        Raises:
            ValueError: When a stage is unknown, or block features are asked for and ``blocks`` names none.
        """
        wanted_layers(stages, self.layers, f'BlockFeatureBackbone with out_indices={self.out_indices}')
        if blocks and not self.block_names:
            raise ValueError("this method reads block features: name them in the backbone's `blocks`")
        outputs, handles = {}, []
        modules = dict(self.backbone.named_modules())
        kept = {s: group for s, group in self.block_names.items() if blocks and (s != 'layer1' or s in stages)}
        for name in (n for group in kept.values() for n in group):
            handles.append(
                modules[name].register_forward_hook(lambda _, __, output, name=name: outputs.__setitem__(name, output))
            )
        try:
            maps = dict(zip(self.layers, self.forward(x), strict=True))
        finally:
            for handle in handles:
                handle.remove()
        sizes = {name: tuple(m.shape[-2:]) for name, m in maps.items()}
        groups = {stage: tuple(_as_map(outputs[n], sizes[stage], n) for n in names) for stage, names in kept.items()}
        return BackboneFeatures({name: maps[name] for name in self.layers if name in stages}, groups, sizes=sizes)

    def last_stage(self, layer3: Tensor) -> Tensor:
        """layer4 alone: a layer3 map (N, C, h, w), such as a masked one -> (N, C', h', w').

        Raises:
            ValueError: When the config does not say which modules it is.
        """
        if not self.last_stage_names:
            raise ValueError(
                'this method masks supports before the last stage: name the modules that make layer4 of layer3 in the '
                "backbone's `last_stage`"
            )
        modules = dict(self.backbone.named_modules())
        with autocast_to(self.compute_dtype, layer3.device):
            x = layer3
            for name in self.last_stage_names:
                x = modules[name](x)
        return x.float() if self.compute_dtype else x

    def train(self, mode: bool = True) -> 'BlockFeatureBackbone':
        """As nn.Module's, with BatchNorm (norm_eval) or everything (frozen) kept in eval mode."""
        super().train(mode and not self.frozen)
        if mode and self.norm_eval:
            eval_norms(self)
        return self
