# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Gaussian blur of the published training pipelines (PSPNet, PFENet, BAM)."""

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from mmfss.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomGaussianBlur(BaseTransform):
    """Blur the image with a fixed kernel; label maps stay as they are.

    mmseg only has a volume blur with random sigma; here sigma follows from the kernel size.

    Args:
        prob (float): Probability. Defaults to 0.5.
        kernel (int): Side of the kernel in pixels, odd. Defaults to 5.
    """

    def __init__(self, prob: float = 0.5, kernel: int = 5) -> None:
        if not 0 <= prob <= 1 or kernel % 2 == 0:
            raise ValueError(f'`prob` must lie in 0..1 and `kernel` be odd, are {prob}, {kernel}.')
        self.prob = prob
        self.kernel = kernel

    @cache_randomness
    def _draw(self) -> bool:
        return bool(np.random.rand() < self.prob)

    def transform(self, results: dict) -> dict:
        if self._draw():
            results['img'] = cv2.GaussianBlur(results['img'], (self.kernel, self.kernel), 0)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob}, kernel={self.kernel})'
