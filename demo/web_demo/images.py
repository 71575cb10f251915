# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What a visitor hands in, made safe: image files, painted layers, typed boxes."""

import io
import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mmfss.apis.coordinates import numbers, pixels_of_box
from mmfss.datasets.file_kinds import HEAD, file_kind
from mmfss.datasets.image_files import decode_image
from mmfss.datasets.image_headers import CorruptFileError
from mmfss.utils.notices import collected

# Not "whatever Pillow knows": some of its decoders start other programs.
FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'TIFF', 'GIF')
_NUMBERS = re.compile(r'[\s,;]+')


def read_image(path: str | Path, name: str, max_pixels: int) -> np.ndarray:
    """Read an uploaded image through the door of :mod:`mmfss.datasets.image_files`.

    Args:
        path (str | Path): The uploaded file.
        name (str): What the visitor calls it, for messages.
        max_pixels (int): Larger images are refused before they are decoded.

    Returns:
        np.ndarray: (H, W, 3) uint8 RGB.

    Raises:
        ValueError: When it is no image, is broken, or is too large.
    """
    with open(path, 'rb') as stream:
        data = stream.read()
    kind = file_kind(data[:HEAD], name)
    if kind is not None:
        raise ValueError(f'{name} cannot be read: it is no image but {kind[0]}. {kind[1]}')
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            size = image.size
    except Exception as error:  # each decoder raises its own kind
        raise ValueError(
            f'{name} cannot be read as an image. Give a whole file of one of these kinds: {", ".join(FORMATS)}.'
        ) from error
    check_size(size, name, max_pixels)
    try:
        return np.ascontiguousarray(decode_image(data, name)[..., ::-1])
    except CorruptFileError as error:
        raise ValueError(f'{name} cannot be read. {error}') from error


def read_noted(path: str | Path, name: str, max_pixels: int) -> tuple[np.ndarray | None, list[str]]:
    """:func:`read_image`, None for what cannot be read, and what the visitor should know about it."""
    with collected() as notes:
        try:
            return read_image(path, name, max_pixels), notes
        except ValueError as error:
            return None, [str(error)]


def check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    """Refuse an image (width, height) of more than ``max_pixels`` with a ValueError."""
    width, height = size
    if width * height > max_pixels:
        raise ValueError(
            f'{name} has {width} x {height} pixels; at most {max_pixels / 1e6:g} million are taken. '
            'Make it smaller and try again.'
        )


def limit_side(image: np.ndarray, longest: int, shortest: int = 0) -> np.ndarray:
    """Scale an image (H, W, 3) so that its long side is ``shortest``..``longest`` pixels; as it is when it fits."""
    H, W = image.shape[:2]
    side = max(H, W)
    scale = min(max(side, shortest), longest) / side
    if scale == 1:
        return image
    return cv2.resize(
        image,
        (max(1, round(W * scale)), max(1, round(H * scale))),
        interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC,
    )


def marked_layer(mask: np.ndarray, size: tuple[int, int], colour: tuple[int, int, int, int]) -> np.ndarray:
    """A layer for an editor, as if a mask had been painted; :func:`painted` gives the mask back.

    Args:
        mask (np.ndarray): (H, W) bool.
        size (tuple[int, int]): (h, w) of the picture in the editor.
        colour (tuple[int, int, int, int]): RGBA of the brush.

    Returns:
        np.ndarray: (h, w, 4) uint8, transparent where nothing is marked.
    """
    region = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA) >= 0.5
    return np.where(region[..., None], np.array(colour), 0).astype(np.uint8)


def painted(layers: Sequence[Image.Image | None], size: tuple[int, int]) -> np.ndarray:
    """Where a brush left colour on the layers of an editor.

    Args:
        layers (Sequence[Image.Image | None]): RGBA, transparent where nothing was painted.
        size (tuple[int, int]): (H, W) of the image below, at whatever size that was painted on.

    Returns:
        np.ndarray: (H, W) bool.
    """
    H, W = size
    mask = np.zeros((H, W), bool)
    for layer in layers:
        if layer is None:
            continue
        alpha = np.asarray(layer.convert('RGBA'))[..., 3].astype(np.float32)
        if layer.size != (W, H):  # the editor shows small images enlarged and large ones reduced
            alpha = cv2.resize(alpha, (W, H), interpolation=cv2.INTER_AREA)
        # Half of the strongest stroke: right for opaque and for see-through brushes.
        mask |= alpha > max(8, alpha.max() / 2)
    return mask


def box_around(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """(x1, y1, x2, y2) of the pixels of a mask (H, W), x2 and y2 exclusive; None for an empty one."""
    if not mask.any():
        return None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def scale_box(box: Sequence[float], old: tuple[int, int], new: tuple[int, int]) -> tuple[int, int, int, int]:
    """A box of an image of size ``old`` (H, W) in the pixels of the same image at size ``new``, never empty."""
    x1, y1, x2, y2 = (round(v * n / o) for v, n, o in zip(box, new[::-1] * 2, old[::-1] * 2, strict=True))
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)


def parse_box(text: str, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Read ``x1, y1, x2, y2`` in pixels, cut to an image of size (H, W).

    Raises:
        ValueError: When it is not four numbers, or no part of the image.
    """
    H, W = size
    try:
        box = numbers([float(part) for part in _NUMBERS.split(text.strip(' ()[]')) if part], 4)
    except ValueError:
        raise ValueError(
            f'The box "{text}" is not understood. Write four numbers in pixels: left, top, right, '
            'bottom, such as 40, 30, 200, 180.'
        ) from None
    try:
        return pixels_of_box(box, size, 'the box')
    except ValueError as error:
        raise ValueError(
            f'The box {text} holds no part of the image of {W} x {H} pixels{_joined(str(error))} Left must be smaller '
            'than right, top smaller than bottom.'
        ) from None


def _joined(reason: str) -> str:
    return reason if reason[:1] in ':.' else f': {reason}.'
