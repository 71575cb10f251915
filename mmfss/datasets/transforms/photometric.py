# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Photometric augmentation of VAT (Hong et al. 2022): seven changes of colour, with albumentations 1.1's strengths.

Images are (h, w, 3) uint8 in BGR. Each function draws its strength from the generator it is given.
"""

import cv2
import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from mmfss.registry import TRANSFORMS

_VALUES = np.arange(256, dtype=np.float32)


def _look_up(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    return cv2.LUT(image, table.clip(0, 255).astype(np.uint8))


def _gray(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)


def to_gray(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Without colour."""
    return _gray(image)


def posterize(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The upper four bits of each value."""
    return mmcv.posterize(image, 4)


def equalize(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Every channel's histogram flattened."""
    return cv2.merge([cv2.equalizeHist(channel) for channel in cv2.split(image)])


def sharpen(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A share of 0.2 to 0.5 of a Laplacian whose sum is 0.5 to 1, the rest the image."""
    share, lightness = random.uniform(0.2, 0.5), random.uniform(0.5, 1.0)
    kernel = np.full((3, 3), -share, dtype=np.float32)
    kernel[1, 1] = 1 - share + share * (8 + lightness)
    return cv2.filter2D(image, -1, kernel)


def brightness_contrast(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Times 0.8 to 1.2, plus -0.2 to 0.2 of the largest value."""
    return _look_up(image, _VALUES * random.uniform(0.8, 1.2) + 255 * random.uniform(-0.2, 0.2))


def solarize(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Values from 128 on turned round."""
    return mmcv.solarize(image, 128)


def _contrast(image: np.ndarray, factor: float) -> np.ndarray:
    mean = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).mean()
    return _look_up(image, _VALUES * factor + mean * (1 - factor))


def _hue(image: np.ndarray, share: float) -> np.ndarray:
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    hsv[..., 0] = _look_up(hsv[..., 0], np.mod(_VALUES + 180 * share, 180))
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)


def color_jitter(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and saturation times 0.8 to 1.2, hue turned by up to a fifth, in random order."""
    brightness, contrast, saturation = random.uniform(0.8, 1.2, 3)
    hue = random.uniform(-0.2, 0.2)
    steps = (
        lambda x: _look_up(x, _VALUES * brightness),
        lambda x: _contrast(x, contrast),
        lambda x: cv2.addWeighted(x, saturation, _gray(x), 1 - saturation, 0),
        lambda x: _hue(x, hue),
    )
    for i in random.permutation(len(steps)):
        image = steps[i](image)
    return image


CHANGES = (to_gray, posterize, equalize, sharpen, brightness_contrast, solarize, color_jitter)  # in this order


@TRANSFORMS.register_module()
class RandomPhotometry(BaseTransform):
    """Seven changes of colour, each with the same probability; label maps stay as they are.

    In this order: to gray, posterize, equalize, sharpen, brightness and contrast, solarize, colour jitter.

    Args:
        prob (float): Of each change. Defaults to 0.2.

    Raises:
        TypeError: When an image is not uint8: load it with ``to_float32=False``.
    """

    def __init__(self, prob: float = 0.2) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'`prob` must lie in 0..1, is {prob}.')
        self.prob = prob

    @cache_randomness
    def _draw(self) -> int:
        return int(np.random.randint(2**31))

    def transform(self, results: dict) -> dict:
        if results['img'].dtype != np.uint8:
            raise TypeError(
                f'RandomPhotometry takes uint8 images, not {results["img"].dtype}: set to_float32=False where they are '
                'loaded'
            )
        random = np.random.default_rng(self._draw())
        for change in CHANGES:
            if random.random() < self.prob:
                results['img'] = change(results['img'], random)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob})'
