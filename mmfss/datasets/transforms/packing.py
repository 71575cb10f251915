# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""From a results dict to what one image contributes to an episode."""

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.datasets.transforms import PackSegInputs

from mmfss.registry import TRANSFORMS

from .loading import PADDING_MAP

EPISODE_META = ('class_id', 'class_name', 'base_index', 'run', 'episode', 'support_names', 'support_paths')
N_WAY_META = ('way_class_ids', 'way')  # of episodes of several classes
IMAGE_META = (
    'name',
    'img_path',
    'seg_map_path',
    'ori_shape',
    'img_shape',
    'pad_shape',
    'scale_factor',
    'flip',
    'flip_direction',
    'restore_shape',
)


@TRANSFORMS.register_module()
class PackEpisodeInputs(PackSegInputs):
    """Pack a query or a support; :class:`EpisodicDataset` joins 1 + K of them into an item.

    Returns:
        dict: ``inputs`` (3, H, W) in the image's own dtype, BGR, not normalised; ``data_samples``,
        a SegDataSample with ``gt_sem_seg`` (1, H, W) long of 0, 1, 255 and, where the pipeline
        made base labels, ``gt_base_seg`` (1, H, W) long of 0..N_base, 255; ``padding_map``
        (1, H, W) uint8, 0 where there is photograph, where LoadFewShotImage started one.

    Args:
        meta_keys (sequence): Keys that go into the sample's meta information where present.
    """

    def __init__(self, meta_keys: Sequence[str] = EPISODE_META + N_WAY_META + IMAGE_META) -> None:
        super().__init__(meta_keys=tuple(meta_keys))

    def transform(self, results: dict) -> dict:
        packed = super().transform(results)
        if 'gt_base_map' in results:
            labels = torch.from_numpy(results['gt_base_map'][None].astype(np.int64))  # (1, H, W)
            packed['data_samples'].gt_base_seg = PixelData(data=labels)
        if PADDING_MAP in results:
            padding = torch.from_numpy(np.ascontiguousarray(results[PADDING_MAP][None]))  # (1, H, W)
            packed['data_samples'].padding_map = PixelData(data=padding)
        return packed
