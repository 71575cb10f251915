# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What an image's segmentation is, and how several classes become one mask."""

import os
import sys
from collections.abc import Sequence
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
        presence (tuple[float, ...]): Of each class, how surely the image shows it at all: 1 where something is as like
            the supports' object as that is like itself, see :mod:`mmfss.models.layers.presence`; NaN for a class whose
            bank has no such score.
    """

    name: str
    mask: np.ndarray
    scores: np.ndarray
    class_names: tuple[str, ...]
    image: np.ndarray = field(repr=False)
    source: str = ''
    presence: tuple[float, ...] = ()

    @property
    def found(self) -> tuple[str, ...]:
        """The classes that the mask holds."""
        held = np.bincount(self.mask.reshape(-1), minlength=len(self.class_names) + 1)[1:]
        return tuple(name for name, area in zip(self.class_names, held, strict=False) if area)

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


@dataclass(frozen=True)
class Limits:
    """What it takes to be in a mask.

    Attributes:
        threshold (float): Probability of a pixel, see :func:`mask_from_scores`.
        min_score (float): Presence score of a class; 0 asks for none.
        min_area (float): Area of a class in the image: a share of the image below 1, else pixels.

    Raises:
        ValueError: When one is negative or no number, or the threshold is no probability.
    """

    threshold: float = 0.5
    min_score: float = 0
    min_area: float = 0

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f'`threshold` is a probability, 0 to 1; it is {self.threshold}')
        if not 0 <= self.min_score <= 2:
            raise ValueError(f'`min_score` is a presence score, 0 (off) to about 1; it is {self.min_score}')
        if not 0 <= self.min_area < float('inf'):
            raise ValueError(f'`min_area` is a share of the image below 1, or pixels; it is {self.min_area}')

    @property
    def settings(self) -> list[float]:
        """For the digest of a :class:`mmfss.apis.writer.ResultWriter`; limits that are off leave no trace."""
        further = [self.min_score, self.min_area]
        return [self.threshold, *(further if any(further) else [])]

    def mask(self, scores: np.ndarray, presence: Sequence[float]) -> np.ndarray:
        """As :func:`mask_from_scores`, without the classes that the image does not seem to show.

        A class whose presence is too low takes no part in who gets a pixel; one whose region is too small leaves it to
        the background.

        Args:
            scores (np.ndarray): (N, H, W) probabilities.
            presence (Sequence[float]): N presence scores, such as :attr:`SegmentationResult.presence`.
        """
        absent = [i for i, value in enumerate(presence) if self.min_score and not value >= self.min_score]
        if absent:
            scores = scores.copy()
            scores[absent] = -1
        mask = mask_from_scores(scores, self.threshold)
        if self.min_area:
            areas = np.bincount(mask.reshape(-1), minlength=len(scores) + 1)
            mask[(areas < (self.min_area * mask.size if self.min_area < 1 else self.min_area))[mask]] = 0
        return mask


def to_half(probability: Tensor) -> np.ndarray:
    """float16 copy that rounds nothing below 0.5 up to it."""
    half = probability.half()
    return torch.where((probability < 0.5) & (half >= 0.5), _BELOW_HALF, half).cpu().numpy()


def check_display() -> None:
    """Refuse to open windows where there is no display, before any work."""
    inline = 'inline' in matplotlib.get_backend().lower()
    if sys.platform.startswith('linux') and not inline and not {'DISPLAY', 'WAYLAND_DISPLAY'} & os.environ.keys():
        raise ValueError('`show` needs a display, and there is none; write the overlays with `out_dir` instead')
