# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Images and masks for demo/onnx_segment.py with NumPy and Pillow only, by the rules of mmfss itself.

The rules in full are in mmfss/datasets/image_files.py, bit_depth.py and mask_files.py; a test compares both. What
those read and this does not (bit depths of colour files above 8, classes by number) is refused.
"""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'TIFF', 'GIF', 'PPM', 'JPEG2000')
BITS = (8, 10, 12, 14, 16, 24, 32)
WHITES = (1023, 4095, 16383, 65535, 2**31 - 1, 2**32 - 1)
NEAR = 32


def open_upright(path: str) -> Image.Image:
    """An image file, turned as its EXIF says.

    Raises:
        ValueError: When it is no image that is read here, or has bits that would be lost.
    """
    try:
        # Not by its path: Pillow 13 maps a TIFF that is turned into memory with swapped sides.
        image = Image.open(io.BytesIO(Path(path).read_bytes()), formats=FORMATS)
        raw = str(image.tile[0][3]) if image.tile else ''
        frames = 1 if image.format in ('JPEG', 'MPO') else getattr(image, 'n_frames', 1)
        image.load()
        upright = ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise
    except Exception as error:  # each decoder raises its own kind
        raise ValueError(
            f'{path} cannot be read as an image ({error}). HEIC, DICOM, PDF, RAW ...: export it as JPEG or PNG.'
        ) from error
    if ';16' in raw and upright.mode.startswith('RGB'):
        raise ValueError(f'{path} has 16 bits a colour. Save it with 8 bits.')
    if frames > 1:
        raise ValueError(f'{path} holds {frames} pages or frames. Save the one that is meant as PNG.')
    return upright


def read_image(path: str) -> Image.Image:
    """An image file as RGB, upright, of 8 bits, transparent pixels over neutral grey.

    Raises:
        ValueError: When it cannot be read, or its values are no brightness.
    """
    image = open_upright(path)
    if image.mode.startswith(('I', 'F')):
        return Image.fromarray(_grey_levels(np.asarray(image), path)).convert('RGB')
    if not image.has_transparency_data:
        return image.convert('RGB')
    rgba = np.asarray(image.convert('RGBA')).astype(np.float32)
    weight = rgba[..., 3:] / 255
    if weight.min() < 1:
        print(f'{path}: transparent pixels are put over neutral grey', file=sys.stderr)
    return Image.fromarray(np.rint(rgba[..., :3] * weight + 128 * (1 - weight)).astype(np.uint8))


def _grey_levels(values: np.ndarray, path: str) -> np.ndarray:
    if values.dtype.kind == 'f' and not np.isfinite(values).all():
        raise ValueError(f'{path} holds NaN or infinity. Scale it to 0..255.')
    low, top = values.min(), values.max()
    if low < 0 or (values.dtype.kind == 'f' and 1 < top < 2):
        raise ValueError(f'{path} holds values from {low:g} to {top:g}. Save it as 8-bit PNG.')
    if values.dtype.kind == 'f' and top <= 1:
        return np.rint(values * 255).astype(np.uint8)
    bits = next((bits for bits in BITS if top < 2**bits), None)
    if bits is None:
        raise ValueError(f'{path} holds numbers up to {top:g}. Scale it to 0..255.')
    if bits not in (16, 32):
        print(f'{path}: read as {bits}-bit data, 0..{2**bits - 1} as black to white', file=sys.stderr)
    return (np.rint(values).astype(np.int64) >> (bits - 8)).astype(np.uint8)


def read_mask(path: str, size: tuple[int, int]) -> Image.Image:
    """The object of a mask file as 255, all else 0.

    Args:
        path (str): Black and white, or 0 and 1, of whatever kind.
        size (tuple[int, int]): (w, h) of its image.

    Raises:
        ValueError: When it is of another size, empty, or can be read in two ways.
    """
    image = open_upright(path)
    if image.size != size:
        raise ValueError(f'{path} is {image.width}x{image.height} pixels, its image is {size[0]}x{size[1]}.')
    values = _mask_values(image, path)
    if values.dtype != np.uint8 and values.max() in WHITES and ((values == 0) | (values == values.max())).all():
        values = (values > 0).astype(np.uint8) * 255
    found = np.unique(values)
    if values.dtype != bool and not np.isin(found, (0, 1, 255)).all():
        raise ValueError(f'{path} holds the values {found[:8].tolist()}; a mask is 0 and 255, or 0 and 1.')
    if 1 in found and 255 in found and values.dtype != bool:
        print(f'{path}: 1 is the object; pixels of 255, which mmfss leaves out, are background here', file=sys.stderr)
    labels = values == (1 if values.dtype == bool or 1 in found else 255)  # beside 1, 255 is left out
    if not labels.any():
        raise ValueError(f'{path} is empty: no pixel belongs to the object.')
    return Image.fromarray(labels.astype(np.uint8) * 255)


def _mask_values(image: Image.Image, path: str) -> np.ndarray:
    if image.mode == '1' or image.mode.startswith(('I', 'F')):
        return np.asarray(image)
    if image.mode == 'P' and 'transparency' not in image.info:
        indices = np.asarray(image)
        table = np.zeros((256, 3), int)
        stored = np.array(image.getpalette() or [], int).reshape(-1, 3)
        table[: len(stored)] = stored
        colours = table[np.unique(indices)]
        levels = table.mean(axis=1)
        shown = levels[np.unique(indices)]
        if (np.ptp(colours, axis=1) > NEAR).any() or not ((shown <= NEAR) | (shown >= 255 - NEAR)).all():
            return indices
        return np.where(levels >= 255 - NEAR, 255, 0).astype(np.uint8)[indices]
    if not image.has_transparency_data:
        return _grey(np.asarray(image if image.mode == 'L' else image.convert('RGB')), path)
    rgba = np.asarray(image.convert('RGBA'))
    colours, alpha = rgba[..., :3], rgba[..., 3]
    if alpha.min() == alpha.max() > 0:
        return _grey(colours, path)
    if (colours == colours[:1, :1]).all() and alpha.max() > 0:
        return alpha
    bright = _grey(colours, path)
    if (bright >= 128).tolist() != (alpha >= 128).tolist():
        raise ValueError(f'{path} can be read in two ways: its colours and its alpha mark different pixels.')
    return bright


def _grey(values: np.ndarray, path: str) -> np.ndarray:
    if values.ndim == 3 and (values != values[..., :1]).any():
        raise ValueError(f'{path} is in colours. Save it in black and white.')
    return values if values.ndim == 2 else values[..., 0]
