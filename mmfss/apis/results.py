# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What an image's segmentation is, and how several classes become one mask."""

import os
import sys
from dataclasses import dataclass, field

import matplotlib
import numpy as np
import torch
from torch import Tensor

from mmfss.visualization.sheet import class_color, overlay_index_map

_BELOW_HALF = 0.5 - 2**-12  # the float16 before 0.5


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """One segmented image.

    Attributes:
        name (str): Unique among the results of a call; files are called so.
        mask (np.ndarray): (H, W) uint8, 0 background, i the i-th class.
        scores (np.ndarray): (N, H, W) float16, probability of each class against background, at original size.
        class_names (tuple[str, ...]): The N classes.
        image (np.ndarray): (H, W, 3) uint8 RGB, the image itself.
        source (str): Path of the file, of a video with '#' and the frame's index; '' for images that are no files.
    """

    name: str
    mask: np.ndarray
    scores: np.ndarray
    class_names: tuple[str, ...]
    image: np.ndarray = field(repr=False)
    source: str = ''

    def overlay(self, alpha: float = 0.6) -> np.ndarray:
        """The image with every class tinted and outlined, (H, W, 3) uint8 RGB."""
        return overlay_index_map(self.image, self.mask, self.class_names, self.image.shape[0], alpha)[0]


def palette(num_classes: int) -> list[int]:
    """Colours of a palette PNG: black, then those of :meth:`SegmentationResult.overlay`."""
    return [0, 0, 0, *(value for i in range(1, num_classes + 1) for value in class_color(i))]


def mask_from_scores(scores: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """The class of each pixel: the one with the highest probability where that reaches ``threshold``, else background.

    Args:
        scores (np.ndarray): (N, H, W) probabilities, such as :attr:`SegmentationResult.scores`.
        threshold (float): 0..1; 0.5 gives, for one class, exactly the mask of an evaluation. Defaults to 0.5.

    Returns:
        np.ndarray: (H, W) uint8, 0 background, i the i-th class; of equal probabilities the first class.
    """
    best = scores.argmax(0)  # (H, W)
    found = np.take_along_axis(scores, best[None], 0)[0] >= threshold
    return np.where(found, best + 1, 0).astype(np.uint8)


def to_half(probability: Tensor) -> np.ndarray:
    """float16 copy that rounds nothing below 0.5 up to it."""
    half = probability.half()
    return torch.where((probability < 0.5) & (half >= 0.5), _BELOW_HALF, half).cpu().numpy()


def check_display() -> None:
    """Refuse to open windows where there is no display, before any work."""
    inline = 'inline' in matplotlib.get_backend().lower()
    if sys.platform.startswith('linux') and not inline and not {'DISPLAY', 'WAYLAND_DISPLAY'} & os.environ.keys():
        raise ValueError('`show` needs a display, and there is none; write the overlays with `out_dir` instead')
