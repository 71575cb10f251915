# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""One photo and one mask in every form in which users hand them in."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

H, W = 40, 60


def grey() -> np.ndarray:
    """(H, W) uint8 with levels from 0 to 255."""
    rows, columns = np.mgrid[:H, :W]
    return ((rows * 255 // (H - 1) + columns * 255 // (W - 1)) // 2).astype(np.uint8)


def photo() -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    level = grey()
    return np.dstack([level, level[::-1], np.full_like(level, 90)])


def object_mask() -> np.ndarray:
    """(H, W) bool."""
    mask = np.zeros((H, W), bool)
    mask[8:25, 10:30] = True
    return mask


def as_file(image: Image.Image | np.ndarray, path: Path, **options) -> Path:
    """Saved by Pillow; arrays of 16 bits and three channels by OpenCV."""
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.dtype != np.uint8:
        assert cv2.imwrite(str(path), image[..., [2, 1, 0, 3][: image.shape[2]]])
    else:
        (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(path, **options)
    return path


def palette_mask(mask: np.ndarray, colours: list[int], dark: int = 0, bright: int = 1) -> Image.Image:
    """A palette image with two indices."""
    image = Image.fromarray(np.where(mask, bright, dark).astype(np.uint8), mode='P')
    image.putpalette(colours)
    return image


def with_alpha(colours: np.ndarray | int, alpha: np.ndarray) -> Image.Image:
    """RGBA of colours (a level, (H, W) or (H, W, 3)) and alpha (H, W)."""
    colours = np.broadcast_to(np.asarray(colours, np.uint8), alpha.shape) if np.ndim(colours) < 3 else colours
    colours = np.repeat(colours[..., None], 3, axis=2) if colours.ndim == 2 else colours
    return Image.fromarray(np.dstack([colours, alpha.astype(np.uint8)]))


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    """The bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
