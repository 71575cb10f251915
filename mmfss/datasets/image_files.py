# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The one door for images: files, bytes, arrays and PIL images of any kind to (H, W, 3) uint8, upright and opaque.

Data sets, inferencer, demos and tools all come through here, so that a file is read alike wherever it is given, or
refused with its name, the reason and the cure.
"""

import io
from os import PathLike
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from mmfss.utils.notices import tell

from .bit_depth import to_8_bit
from .file_kinds import HEAD
from .image_headers import CorruptFileError, open_picture, refuse_other_kinds

JPEG_START, JPEG_SCAN, JPEG_END = b'\xff\xd8', b'\xff\xda', b'\xff\xd9'
_PNG = b'\x89PNG\r\n\x1a\n'
NEUTRAL = 128  # grey that shines through transparent pixels


def decode_image(data: bytes, path: str) -> np.ndarray:
    """Decode a file, upright.

    Args:
        data (bytes): The whole file.
        path (str): Names it in messages.

    Returns:
        np.ndarray: (H, W, 3) uint8 BGR. Of JPEG and of 8-bit PNG without transparency exactly what OpenCV gives.

    Raises:
        CorruptFileError: When it is cut off, no image, or of values that are no brightness.
        ValueError: When it is huge.
    """
    if data.startswith(JPEG_START):
        if data.rfind(JPEG_END) <= data.rfind(JPEG_SCAN):
            raise CorruptFileError(_corrupt(path, 'the end of the JPEG is missing'))
        plain = True
    else:
        plain = _plain_png(data)
    if plain and (image := _opencv(data, cv2.IMREAD_COLOR)) is not None:
        return image
    refuse_other_kinds(data[:HEAD], path)
    name = f'The image {path}'
    opened = open_picture(io.BytesIO(data), name, path)
    if opened is not None:
        try:
            return np.ascontiguousarray(pil_rgb(opened, name)[..., ::-1])
        except CorruptFileError:
            raise
        except ValueError as error:
            raise CorruptFileError(str(error)) from error
    values = _opencv(data, cv2.IMREAD_UNCHANGED)
    if values is None:
        raise CorruptFileError(_corrupt(path, 'it cannot be decoded'))
    try:
        order = [2, 1, 0, 3][: values.shape[2]] if values.ndim == 3 and values.shape[2] in (3, 4) else slice(None)
        return np.ascontiguousarray(array_rgb(values[..., order] if values.ndim == 3 else values, name)[..., ::-1])
    except ValueError as error:
        raise CorruptFileError(str(error)) from error


def read_rgb(path: str | PathLike) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a file, upright.

    Raises:
        CorruptFileError, ValueError: When :func:`decode_image` raises them.
    """
    return np.ascontiguousarray(decode_image(Path(path).read_bytes(), str(path))[..., ::-1])


def _corrupt(path: str, reason: str) -> str:
    return f'The image {path} is corrupt ({reason}). Fetch it again or take it out of the list.'


def _plain_png(data: bytes) -> bool:
    """Whether it is a PNG of up to 8 bits, without alpha, transparent colours or frames."""
    if not data.startswith(_PNG) or len(data) < 33 or data[24] > 8 or data[25] not in (0, 2, 3):
        return False
    head = data[33 : data.find(b'IDAT')]
    return b'tRNS' not in head and b'acTL' not in head


def _opencv(data: bytes, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


def pil_rgb(image: Image.Image, name: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a PIL image, upright, transparent pixels over neutral grey.

    Raises:
        CorruptFileError: When it was opened from a file that cannot be decoded.
        ValueError: When its values are no brightness.
    """
    tell_pages(image, name)
    try:
        wide = wide_colours(image)
        image = upright(image)
        if image.has_transparency_data:
            image = image.convert('RGBA')
        numbers = image.mode.startswith(('I', 'F'))
        values = np.asarray(image if numbers or image.mode == 'RGBA' else image.convert('RGB'))
    except Exception as error:  # each decoder raises its own kind
        called = f'The image {image.filename}' if getattr(image, 'filename', '') else name
        raise CorruptFileError(
            f'{called} cannot be decoded ({str(error) or type(error).__name__}). Fetch or save it again.'
        ) from error
    if numbers:
        return array_rgb(values, name)
    colours = to_8_bit(values[..., :3] if wide is None else wide, name)
    return _opaque(colours, values[..., 3] if values.shape[2] == 4 else None, name)


def tell_pages(image: Image.Image, name: str) -> None:
    """Say that a file of several pages or frames is used by its first one."""
    if image.format in (None, 'JPEG', 'MPO'):  # a phone's JPEG may carry a second, hidden picture
        return
    try:
        frames = getattr(image, 'n_frames', 1)
    except Exception:  # a broken chain of pages: the first may be whole
        frames = 1
    if frames > 1:
        tell(
            'pages', f'{name} holds {frames} pages or frames: the first is used. Save the others as files of their own.'
        )


def upright(image: Image.Image) -> Image.Image:
    """A copy turned as the camera noted (EXIF)."""
    if image.format == 'TIFF' and getattr(image, 'tile', None) and image.tag_v2.get(274, 1) != 1 and image.filename:
        # Pillow 13 maps such a file into memory with swapped sides; from a stream it does not.
        image = Image.open(io.BytesIO(Path(image.filename).read_bytes()))
    return ImageOps.exif_transpose(image)


def wide_colours(image: Image.Image) -> np.ndarray | None:
    """(H, W, 3) RGB of more than 8 bits, upright, which Pillow itself would cut to 8; None for all other images.

    Read from what the image was opened from, so before it is loaded.
    """
    raw = str(image.tile[0][3]) if getattr(image, 'tile', None) else ''
    if ';16' not in raw or image.mode not in ('RGB', 'RGBA', 'RGBX'):
        return None
    place = image.fp.tell()
    image.fp.seek(0)
    values = _opencv(image.fp.read(), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    image.fp.seek(place)
    return None if values is None else values[..., ::-1]


def array_rgb(values: np.ndarray, name: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an array: (H, W), or with 1 (grey), 2 (and alpha), 3 (RGB) or 4 (and alpha) channels.

    Raises:
        ValueError: When it has another shape, or values that are no brightness.
    """
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[2] not in (1, 2, 3, 4) or not values.size:
        first = values.ndim == 3 and values.shape[0] in (1, 3, 4)
        raise ValueError(
            f'{name} is an array of shape {values.shape} and type {values.dtype}; an image is (H, W, 3) uint8 RGB, or '
            'grey (H, W).' + (' Its channels come first: array.transpose(1, 2, 0).' if first else '')
        )
    values = values.astype(values.dtype.newbyteorder('='), copy=False)
    channels = values.shape[2]
    alpha = values[..., -1] if channels in (2, 4) else None
    colours = to_8_bit(values[..., : channels - (channels in (2, 4))], name)
    if alpha is not None:
        full = np.iinfo(alpha.dtype).max if alpha.dtype.kind in 'ui' else max(1, float(alpha.max()))
        alpha = np.rint(alpha.astype(np.float64) * (255 / full)).clip(0, 255).astype(np.uint8)
    return _opaque(np.repeat(colours, 3, axis=2) if colours.shape[2] == 1 else colours, alpha, name)


def _opaque(colours: np.ndarray, alpha: np.ndarray | None, name: str) -> np.ndarray:
    if alpha is None or alpha.min() == 255:
        return colours
    share = float((alpha < 255).mean())
    tell('transparency', f'{name} is transparent in {share:.0%} of its pixels: they are put over neutral grey.')
    weight = alpha[..., None].astype(np.float32) / 255
    return np.rint(colours * weight + NEUTRAL * (1 - weight)).astype(np.uint8)
