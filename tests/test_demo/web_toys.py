# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A model that goes by colour, and pictures of one coloured object each."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

GREEN, RED = (30, 180, 60), (200, 40, 40)


@dataclass
class ToyResult:
    """What the page uses of a SegmentationResult."""

    name: str
    scores: np.ndarray
    presence: tuple[float, ...]


class ColorInferencer:
    """The inferencer's contract with a model that takes a class for the mean colour of its marked pixels."""

    def __init__(self):
        self.passes = 0  # images that stream() was given

    def register(self, name, images, masks):
        """(name, mean colour)."""
        pixels = []
        for image, mask in zip(images, masks, strict=True):
            if isinstance(mask, dict):
                x1, y1, x2, y2 = mask['box']
                pixels.append(image[y1:y2, x1:x2].reshape(-1, 3))
            else:
                assert mask.shape == image.shape[:2] and mask.dtype == bool
                pixels.append(image[mask])
        return name, np.concatenate(pixels).mean(0)

    def stream(self, images, registered, batch_size=4, threshold=0.5):
        """One result an image: 0.8 for pixels of about the colour, 0.6 for those less near, 0.1 for others."""
        for i, image in enumerate(images):
            self.passes += 1
            away = np.stack([np.linalg.norm(image - color, axis=-1) for _, color in registered])
            scores = np.select([away < 50, away < 90], [0.8, 0.6], 0.1)
            yield ToyResult(str(i), scores, (0.5,) * len(scores))


def scene(color=GREEN, size=(240, 320), box=(100, 60, 220, 180)) -> np.ndarray:
    """(H, W, 3) uint8 RGB: a grey ground with a rectangle x1, y1, x2, y2 of a colour, a little noisy."""
    image = np.full((*size, 3), 128.0)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = color
    image += np.random.default_rng(0).normal(0, 6, image.shape)
    return image.clip(0, 255).astype(np.uint8)


def write(path, *args, **kwargs):
    """Save a :func:`scene`; returns the path as a string."""
    Image.fromarray(scene(*args, **kwargs)).save(path)
    return str(path)
