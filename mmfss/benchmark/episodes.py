# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Synthetic inputs of a benchmark: all follow from a seed, supports have the wanted share of foreground."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from PIL import Image
from torch import Tensor

_CELLS = {1: 0.3, 8: 0.6, 48: 1.0, 150: 1.0}  # pixels and contrast: more structure at large scales, as in photographs


def images(count: int, size: int, seed: int) -> Tensor:
    """Normalised images (count, 3, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(count, 3, size, size)
    for cell, contrast in _CELLS.items():
        side = size // cell + 2
        noise = torch.randn(count, 3, side, side, generator=generator)
        total += contrast * F.interpolate(noise, (size, size), mode='bilinear', align_corners=False)
    return total


def disc(size: int, share: float) -> Tensor:
    """Labels (size, size) of 0 and 1: a square with rounded corners that covers ``share`` of the image."""
    axis = torch.linspace(-1, 1, size)
    distance = axis.abs()[:, None].pow(4) + axis.abs()[None, :].pow(4)  # (size, size)
    count = max(1, round(share * size * size))
    threshold = distance.flatten().kthvalue(count).values
    return (distance <= threshold).long()


def episode(batch_size: int, shots: int, size: int, share: float, seed: int, device: torch.device) -> dict[str, Tensor]:
    """Model inputs of B episodes, as EpisodeDataPreProcessor makes them.

    Args:
        batch_size (int): B.
        shots (int): K.
        size (int): Side of the images in pixels.
        share (float): Foreground of each support, 0..1.
        seed (int): Other seeds give other images; the masks are always the same.
        device (torch.device): Where they go.
    """
    pictures = images(batch_size * (1 + shots), size, seed).unflatten(0, (batch_size, 1 + shots))
    inputs = dict(
        query=pictures[:, 0],
        support=pictures[:, 1:],
        support_mask=disc(size, share).expand(batch_size, shots, size, size),
        query_padding=torch.zeros(batch_size, size, size, dtype=torch.bool),
        episode_seed=torch.arange(batch_size),
    )
    return {name: tensor.contiguous().to(device) for name, tensor in inputs.items()}


def samples(batch_size: int, size: int, share: float, base_classes: int, device: torch.device) -> list[SegDataSample]:
    """Annotated queries of B training episodes of the first base class, an ignored border included.

    Args:
        batch_size (int): B.
        size (int): Side of the images in pixels.
        share (float): Foreground, 0..1.
        base_classes (int): How many the base learner knows; the lower half of an image shows the last of them.
        device (torch.device): Where the labels go.
    """
    labels = disc(size, share)
    labels[-2:] = 255
    base = torch.where(torch.arange(size)[:, None] < size // 2, labels, base_classes)
    found = []
    for _ in range(batch_size):
        sample = SegDataSample(metainfo=dict(base_index=0, class_id=1, ori_shape=(size, size)))
        sample.gt_sem_seg = PixelData(data=labels[None].to(device))
        sample.gt_base_seg = PixelData(data=base[None].to(device))
        found.append(sample)
    return found


def write_images(root: Path, count: int, size: int, share: float, seed: int) -> dict:
    """A PASCAL layout of images that all show the first class.

    Args:
        root (Path): Folder to make it in.
        count (int): Number of images.
        size (int): Side in pixels.
        share (float): Foreground, 0..1.
        seed (int): Of the images.

    Returns:
        dict: Config of the data set, for evaluation.
    """
    for folder in ('JPEGImages', 'SegmentationClassAug'):
        (root / folder).mkdir(parents=True)
    mask = disc(size, share).numpy().astype(np.uint8)
    names = [f'image_{i:04d}' for i in range(count)]
    for place, name in enumerate(names):
        pixels = (images(1, size, seed + place)[0] * 50 + 120).clamp(0, 255).permute(1, 2, 0).byte().numpy()
        Image.fromarray(pixels).save(root / 'JPEGImages' / f'{name}.jpg')
        Image.fromarray(mask).save(root / 'SegmentationClassAug' / f'{name}.png')
    (root / 'val.txt').write_text('\n'.join(names) + '\n')
    return dict(type='Pascal5iDataset', data_root=str(root), ann_file='val.txt', phase='val', fold=0, candidate_area=1)
