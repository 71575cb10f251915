# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Small models and episodes made of nothing but a seed."""

import golden
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmfss.models import BackboneFeatures
from mmfss.registry import MODELS

NUM_BASE = 4
RESNET = dict(
    type='BlockResNet', depth=18, base_channels=8, stem_channels=8, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)
)
VGG = dict(type='BlockVGG', widths=(8, 8, 16, 16, 16))
MSANET = dict(type='MSANetHead', channels=16, similarity_channels=8, dilations=(1, 2, 3))
BASE_HEAD = dict(
    type='mmseg.PSPHead',
    in_channels=64,
    channels=8,
    num_classes=1 + NUM_BASE,
    pool_scales=(1, 2),
    norm_cfg=dict(type='BN'),
    align_corners=True,
)


def build(config: dict) -> nn.Module:
    """A model in eval mode whose weights follow from their names, so that activations stay near one."""
    model = MODELS.build(config)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            # The reference rule keeps the branches of bottlenecks small; a basic block ends with bn2.
            tensor.copy_(golden.draw_tensor(name.replace('.bn2.weight', '.bn3.weight'), list(tensor.shape)))
    return model.eval()


def smooth(*shape: int, seed: int, cell: int = 8) -> Tensor:
    """Images (..., H, W) with structure at all scales: noise of several cell sizes, deviation about one."""
    generator = torch.Generator().manual_seed(seed)
    *front, H, W = shape
    total = torch.zeros(shape)
    for size in (1, cell, 3 * cell):
        noise = torch.randn(*front, H // size + 2, W // size + 2, generator=generator)
        total += F.interpolate(noise.view(-1, 1, *noise.shape[-2:]), (H, W), mode='bilinear').view(shape)
    return total / 1.3


def blobs(B: int, K: int, H: int, W: int, seed: int) -> Tensor:
    """Labels (B, K, H, W) 0/1/255: one blob each, of different sizes, with an ignored border."""
    height = smooth(B, K, H, W, seed=seed, cell=12)
    level = torch.linspace(0.3, 1.2, B * K).view(B, K, 1, 1)
    return torch.where(height > level + 0.1, 1, torch.where(height > level, 255, 0))


def episodes(B: int = 2, K: int = 1, size: tuple[int, int] = (41, 41), seed: int = 0) -> dict[str, Tensor]:
    """Model inputs of B episodes, as EpisodeDataPreProcessor makes them."""
    H, W = size
    return dict(
        query=smooth(B, 3, H, W, seed=seed),
        support=smooth(B, K, 3, H, W, seed=seed + 1),
        support_mask=blobs(B, K, H, W, seed + 2),
        query_padding=padding(B, H, W),
        episode_seed=torch.arange(B) + 1,
    )


def padding(B: int, H: int, W: int) -> Tensor:
    """(B, H, W) bool: below the photograph, for each episode another part."""
    return torch.arange(H).view(1, H, 1).expand(B, H, W) >= H - 1 - torch.arange(B).view(B, 1, 1) % 3


def samples(B: int, size: tuple[int, int], seed: int = 9) -> list[SegDataSample]:
    """Annotated queries as a training pipeline packs them."""
    labels = blobs(B, 1, *size, seed=seed)
    base = (smooth(B, *size, seed=seed + 1).abs() * NUM_BASE).long().clamp(max=NUM_BASE)
    found = []
    for i in range(B):
        sample = SegDataSample(metainfo=dict(base_index=i % (NUM_BASE + 1) - 1, class_id=i + 1, ori_shape=size))
        sample.gt_sem_seg, sample.gt_base_seg = PixelData(data=labels[i]), PixelData(data=base[i : i + 1])
        found.append(sample)
    return found


def features(N: int = 2, channels=(8, 16, 32), size: tuple[int, int] = (6, 7), seed: int = 0) -> BackboneFeatures:
    """Backbone features without a backbone: two blocks a stage, negative values included."""
    stages = {f'layer{i + 2}': smooth(N, C, *size, seed=seed + i, cell=3) for i, C in enumerate(channels)}
    blocks = {name: (stage - 0.1, 0.5 - stage) for name, stage in stages.items()}
    return BackboneFeatures({name: stage.relu() for name, stage in stages.items()}, blocks)


def pick(inputs: dict[str, Tensor], i: int) -> dict[str, Tensor]:
    """Episode i alone."""
    return {name: tensor[i : i + 1] for name, tensor in inputs.items()}
