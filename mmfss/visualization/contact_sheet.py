# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Many episodes on one page."""

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.structures import PixelData

from mmfss.datasets import EpisodicDataset
from mmfss.datasets.image_files import read_rgb

from .episode_visualizer import EpisodeVisualizer


def contact_sheet(sheets: Sequence[np.ndarray], columns: int = 2) -> np.ndarray:
    """Put sheets of any size into columns, left-aligned on white.

    Args:
        sheets (Sequence[np.ndarray]): (h, w, 3) uint8 RGB.
        columns (int): Sheets in a row. Defaults to 2.

    Returns:
        np.ndarray: uint8 RGB.
    """
    if not sheets or columns < 1:
        raise ValueError(f'contact_sheet needs sheets and at least one column; got {len(sheets)} and {columns}.')
    columns = min(columns, len(sheets))
    widths = [max(sheet.shape[1] for sheet in sheets[c::columns]) for c in range(columns)]
    rows = [sheets[i : i + columns] for i in range(0, len(sheets), columns)]
    heights = [max(sheet.shape[0] for sheet in row) for row in rows]
    page = np.full((sum(heights), sum(widths), 3), 255, np.uint8)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for sheet, width in zip(row, widths, strict=False):
            page[top : top + sheet.shape[0], left : left + sheet.shape[1]] = sheet
            left += width
        top += height
    return page


def draw_item(visualizer: EpisodeVisualizer, dataset: EpisodicDataset, index: int) -> np.ndarray:
    """Draw an episode as the network is given it.

    A training episode shows query and supports after augmentation, with the base classes of the query; a test episode
    shows the query at original size with the mask it is scored with.

    Args:
        visualizer (EpisodeVisualizer): With ``dataset_meta``, and 'base' among its outputs.
        dataset (EpisodicDataset): Whose item to draw.
        index (int): Which.

    Returns:
        np.ndarray: The sheet, uint8 RGB.
    """
    item = dataset[index]
    inputs, samples = item['inputs'], item['data_samples']
    query, supports = samples['query'], samples['support']
    if dataset.training:
        image = to_rgb(inputs['query'])
        if 'gt_base_seg' in query:
            query.pred_base_seg = PixelData(data=query.gt_base_seg.data)
        for support in supports:  # a crop has no longer the aspect of its image
            support.set_metainfo(dict(ori_shape=None))
    else:
        image = read_rgb(query.img_path)
    return visualizer.draw_episode(
        image, query, [(to_rgb(i), s) for i, s in zip(inputs['support'], supports, strict=True)]
    )


def to_rgb(image: torch.Tensor) -> np.ndarray:
    """(3, H, W) BGR 0..255 of a pipeline to (H, W, 3) uint8 RGB."""
    return np.ascontiguousarray(image.detach().cpu().flip(0).permute(1, 2, 0).round().clamp(0, 255).byte().numpy())
