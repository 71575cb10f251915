# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""How well a class will be found, before any photo is segmented: each support is segmented by the other ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from mmfss.evaluation.functional import confusion, foreground_iou
from mmfss.structures import SupportBank

from .images import ImageLike
from .registered_class import RegisteredClass, as_list
from .support_masks import support_mask

if TYPE_CHECKING:
    from .inferencer import FewShotInferencer

FEW, LOW, ODD = 3, 0.5, 0.25  # supports; mean IoU that is low; IoU under the mean that makes a support odd


@dataclass(frozen=True)
class SupportCheck:
    """Agreement of the supports of a class.

    Attributes:
        name (str): Of the class.
        ious (tuple[float, ...]): Of each support, 0..1: its mask and what the others make of its image.
    """

    name: str
    ious: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean IoU, 0..1: about what to expect on images like the supports."""
        return float(np.mean(self.ious))

    @property
    def odd(self) -> tuple[int, ...]:
        """Supports, from 1, that the others find much worse than the mean."""
        return tuple(k for k, iou in enumerate(self.ious, 1) if iou < self.mean - ODD)

    def __str__(self) -> str:
        """Two lines at most: what to expect, and what may help."""
        each = ', '.join(f'{iou:.2f}' for iou in self.ious)
        said = f"class '{self.name}': expect an IoU of about {self.mean:.1f} on images like these (supports: {each})"
        hints = []
        if self.odd:
            numbers = ', '.join(map(str, self.odd))
            hints.append(f'support {numbers} disagrees with the others: look at its mask and at what it shows')
        if self.mean < LOW:
            more = 'take more supports, ' if len(self.ious) < 2 * FEW else ''
            hints.append(f'that is low: {more}draw tighter masks, or fine-tune (docs/finetuning.md)')
        return '\n'.join([said, *hints])


@torch.no_grad()
def check_supports(
    inferencer: 'FewShotInferencer', name: str, images: ImageLike | Sequence[ImageLike], masks
) -> SupportCheck:
    """Segment each support by the other ones.

    Costs an encoding and a segmentation of each support. Works with every method.

    Args:
        inferencer (FewShotInferencer): The model.
        name (str): Of the class, for messages.
        images (Sequence[ImageLike]): K images as :meth:`FewShotInferencer.register` takes them, at least two.
        masks (Sequence): Their K annotations.

    Raises:
        FileNotFoundError, TypeError, ValueError: When there are fewer than two supports or one of them does not fit.
    """
    images, masks = as_list(images), as_list(masks)
    if len(images) != len(masks) or len(images) < 2:
        raise ValueError(
            f"class '{name}': {len(images)} support images and {len(masks)} masks; a check needs two supports or more"
        )
    banks = [inferencer.register(name, image, mask).bank for image, mask in zip(images, masks, strict=True)]
    ious = []
    for k, (image, mask) in enumerate(zip(images, masks, strict=True)):
        others = SupportBank.stack_shots(bank for i, bank in enumerate(banks) if i != k)
        rest = RegisteredClass(name, inferencer.model.finish(others), f'without {k}')
        found = next(inferencer.stream([image], rest))
        truth = support_mask(mask, found.mask.shape, f'support {k + 1}', found.source or None)
        ious.append(float(foreground_iou(confusion(found.mask, truth))))
    return SupportCheck(name, tuple(ious))
