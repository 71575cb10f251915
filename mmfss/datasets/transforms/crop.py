# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Random crop that keeps the object in the picture (MSANet and BAM, stage 2 training)."""

import cv2
import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmseg.datasets.transforms import RandomCrop

from mmfss.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ForegroundCrop(RandomCrop):
    """Random crop of a fixed size, drawn again while it loses too much of the foreground.

    An image smaller than the crop is first filled up around its centre. Foreground is label 1 of
    ``gt_seg_map``; an image without foreground takes its first draw.

    Modified keys: ``img``, every key of ``seg_fields``, ``img_shape``.

    Args:
        crop_size (int | tuple): Height and width of the crop.
        keep (float): Smallest share of the foreground that a crop should keep; 0 is a plain random
            crop (stage 1). Defaults to 0.85.
        redraws (int): How often to draw again at most. Defaults to 31, as published.
        pad_val (float | tuple): Fill of the image, the mean colour in the image's channel order.
            Defaults to ImageNet's mean in BGR.
        seg_pad_val (int): Fill of label maps. Defaults to 255.
    """

    def __init__(
        self,
        crop_size,
        keep: float = 0.85,
        redraws: int = 31,
        pad_val=(103.53, 116.28, 123.675),
        seg_pad_val: int = 255,
    ) -> None:
        if not isinstance(crop_size, int):
            crop_size = tuple(crop_size)
        super().__init__(crop_size=crop_size)
        if not 0 <= keep <= 1:
            raise ValueError(f'`keep` is a share of the foreground, 0 to 1; it is {keep}.')
        self.keep = keep
        self.redraws = redraws
        self.pad_val = (pad_val,) * 3 if isinstance(pad_val, (int, float)) else tuple(pad_val)
        self.seg_pad_val = seg_pad_val

    def transform(self, results: dict) -> dict:
        results['img'] = self._fill(results['img'], self.pad_val)
        for key in results.get('seg_fields', []):
            results[key] = self._fill(results[key], self.seg_pad_val)
        return super().transform(results)

    @cache_randomness
    def crop_bbox(self, results: dict) -> tuple[int, int, int, int]:
        """Top, bottom, left, right of the crop."""
        box = self._draw(results['img'].shape)
        if self.keep == 0:
            return box
        foreground = results['gt_seg_map'] == 1
        wanted = self.keep * np.count_nonzero(foreground)
        for _ in range(self.redraws):
            if np.count_nonzero(self.crop(foreground, box)) >= wanted:
                break
            box = self._draw(results['img'].shape)
        return box

    def _draw(self, shape: tuple) -> tuple[int, int, int, int]:
        height, width = self.crop_size
        top = np.random.randint(shape[0] - height + 1)
        left = np.random.randint(shape[1] - width + 1)
        return top, top + height, left, left + width

    def _fill(self, array: np.ndarray, value) -> np.ndarray:
        """Fill up to the crop size around the centre; odd rests go below and to the right."""
        rows = max(self.crop_size[0] - array.shape[0], 0)
        columns = max(self.crop_size[1] - array.shape[1], 0)
        if rows == 0 and columns == 0:
            return array
        return cv2.copyMakeBorder(
            array, rows // 2, rows - rows // 2, columns // 2, columns - columns // 2, cv2.BORDER_CONSTANT, value=value
        )

    def __repr__(self) -> str:
        return f'{type(self).__name__}(crop_size={self.crop_size}, keep={self.keep})'
