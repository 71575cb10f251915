# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Label maps of episodes of several classes."""

import numpy as np

from mmfss.registry import TRANSFORMS

from .loading import LoadFewShotAnnotations


@TRANSFORMS.register_module()
class LoadNWayAnnotations(LoadFewShotAnnotations):
    """Load the index mask and turn it into the label map of an N-way episode.

    Required keys: ``seg_map_path``, ``way_class_ids``, the class ids of the W ways, and ``way``, the one for which the
    image was drawn, from 0. Optional keys: those of :class:`LoadFewShotAnnotations`.

    Added key: ``gt_seg_map`` (h, w) uint8 with 1 + w where the mask holds the class of way w, 255 where it holds 255,
    else 0. In ``seg_fields``, so that every later transform moves it.

    Args:
        other_ways (bool): False leaves out all ways but the image's own, which then are background: PANet's released
            code labels COCO images so, whose masks it keeps category by category. Defaults to True.
        keep_ignore (bool): False turns 255 into background. Defaults to True.
        **kwargs: See :class:`mmseg.datasets.transforms.LoadAnnotations`.

    Raises:
        CorruptFileError: When the mask cannot be decoded.
    """

    def __init__(self, other_ways: bool = True, keep_ignore: bool = True, **kwargs) -> None:
        super().__init__(keep_ignore=keep_ignore, **kwargs)
        self.other_ways = other_ways

    def _own_labels(self, labels: np.ndarray, results: dict) -> np.ndarray:
        own = np.zeros(labels.shape, np.uint8)
        for way, class_id in enumerate(results['way_class_ids']):
            if self.other_ways or way == results['way']:
                own[labels == class_id] = 1 + way
        return own

    def __repr__(self) -> str:
        return f'{type(self).__name__}(other_ways={self.other_ways}, keep_ignore={self.keep_ignore})'
