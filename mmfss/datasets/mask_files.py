# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The one door for masks that say 'object or not': files and PIL images of any kind to values (H, W).

Index masks of data sets (VOC's palette PNGs) do not come this way: their values are class ids, read as they are stored.
"""

import io
from collections.abc import Callable
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image

from mmfss.utils.notices import tell

from .file_kinds import HEAD, file_kind
from .image_files import upright, wide_colours
from .image_headers import CorruptFileError, check_path, open_picture

IGNORE = 255
NEAR = 32  # levels by which a palette's black and white, or the channels of a grey, may be off
SLACK = 0.02  # share of the object on whose edge colours and alpha may differ
FEW_COLOURS = 64  # a drawing has no more; a cut-out photo has
WHITES = (1023, 4095, 16383, 65535, 2**31 - 1, 2**32 - 1)  # of 10, 12, 14, 16, 32 bits


def read_mask(path: str | PathLike, name: str, reader: Callable | None = None) -> np.ndarray:
    """Values (H, W) of a mask file.

    Args:
        path (str | PathLike): The file.
        name (str): How messages name it.
        reader (Callable, optional): Takes the open image and the name; defaults to :func:`mask_values`.

    Raises:
        FileNotFoundError: When there is no such file.
        CorruptFileError: When it is no picture, or cannot be decoded.
        ValueError: When it can be read in two ways.
    """
    check_path(path, 'mask')
    if not Path(path).is_file():
        kind = 'It is a folder: give a file.' if Path(path).is_dir() else 'Check the path.'
        raise FileNotFoundError(f'There is no mask {path}. {kind}')
    return decode_mask(Path(path).read_bytes(), str(path), name, reader)


def decode_mask(data: bytes, path: str, name: str, reader: Callable | None = None) -> np.ndarray:
    """:func:`read_mask` of the bytes of a file."""
    found = file_kind(data[:HEAD], path)
    if found is not None:
        raise CorruptFileError(f'{name} cannot be read: it is no mask image but {found[0]}. {found[1]}')
    opened = open_picture(io.BytesIO(data), name)
    if opened is None:
        raise CorruptFileError(f'{name} cannot be read: it is no image, or cut off. Save it as a PNG again.')
    return (reader or mask_values)(opened, name)


def mask_values(image: Image.Image, name: str, *, indices: bool = False, brightest: bool = False) -> np.ndarray:
    """Values (H, W) of a mask, turned as its own EXIF says.

    - 1 bit: bool. Grey of any depth: as stored.
    - Palette: black and white by its colours (0 and 255), whatever the order of its entries, other greys by their
      level; colours are classes, of which the indices are given. Indices 0, 1, 255 are indices where the palette is
      not black and white.
    - Alpha that varies is the mask where the colours say nothing else.

    Args:
        image (Image.Image): An open mask.
        name (str): How messages name it.
        indices (bool): Give the indices of any palette: a class is asked for by its number. Defaults to False.
        brightest (bool): Take the largest channel of colours instead of refusing them. Defaults to False.

    Raises:
        CorruptFileError: When it cannot be decoded.
        ValueError: When it has several pages, is in colours, or its colours and its alpha mark different things.
    """
    try:
        frames = 1 if image.format in (None, 'JPEG', 'MPO') else getattr(image, 'n_frames', 1)
        wide = wide_colours(image)
        image = upright(image)  # decodes it
    except Exception as error:  # each decoder raises its own kind
        raise CorruptFileError(
            f'{name} cannot be read ({str(error) or type(error).__name__}). Save it as a PNG again.'
        ) from error
    if frames > 1:
        raise ValueError(f'{name} holds {frames} pages or frames. Save the one that belongs to the image as PNG.')
    if image.mode in ('P', 'PA'):
        return np.asarray(image.convert('P')) if indices else _by_palette(image, name)
    if image.mode == '1' or image.mode.startswith(('I', 'F')):
        values = np.asarray(image)
        return values.astype(values.dtype.newbyteorder('='), copy=False)
    if image.has_transparency_data:
        return _by_alpha(np.asarray(image.convert('RGBA')), name, brightest)
    if image.mode == 'L':
        return np.asarray(image)
    if wide is not None or image.mode == 'RGB':
        return grey(np.asarray(image) if wide is None else wide, name, brightest)
    colours = np.asarray(image.convert('RGB'))  # CMYK, LAB ...: rounding moves black and white by some levels
    if np.ptp(colours, axis=2).max(initial=0) <= NEAR:
        return _snapped(colours.mean(axis=2).round().astype(np.uint8))
    return grey(colours, name, brightest)


def grey(colours: np.ndarray, name: str, brightest: bool = False) -> np.ndarray:
    """(H, W) of three equal channels.

    Raises:
        ValueError: When they differ, unless ``brightest`` takes the largest.
    """
    if (colours != colours[..., :1]).any():
        if brightest:
            return colours.max(axis=2)
        raise ValueError(f'{name} is in colours. Save it in black and white, or as class indices.')
    return colours[..., 0]


def _snapped(levels: np.ndarray) -> np.ndarray:
    """Levels near black and near white are these."""
    return np.where(levels <= NEAR, 0, np.where(levels >= 255 - NEAR, 255, levels)).astype(np.uint8)


def _by_palette(image: Image.Image, name: str) -> np.ndarray:
    image = image.convert('P') if image.mode == 'PA' else image.copy()
    image.apply_transparency()  # of the file, into the palette
    indices = np.asarray(image)
    stored = np.array(image.getpalette('RGBA') or [], np.uint8).reshape(-1, 4)
    table = np.zeros((256, 4), np.uint8)
    table[:, 3] = 255
    table[: len(stored)] = stored[:256]
    used = np.unique(indices)
    colours, alpha = table[used, :3].astype(int), table[used, 3]
    if len(np.unique(alpha)) > 1 and len(np.unique(colours[alpha > 0], axis=0)) == 1:
        return _by_alpha(table[indices], name)
    levels = colours.mean(axis=1)
    if (np.ptp(colours, axis=1) > NEAR).any():
        return indices
    black_white = ((levels <= NEAR) | (levels >= 255 - NEAR)).all()
    if not black_white and set(used.tolist()) <= {0, 1, IGNORE}:
        return indices
    if len(np.unique(alpha)) > 1:
        return _by_alpha(table[indices], name)
    table = np.zeros(256, np.uint8)
    table[used] = _snapped(levels.round()) if black_white else levels.round()
    return table[indices]


def _by_alpha(rgba: np.ndarray, name: str, brightest: bool = False) -> np.ndarray:
    """(H, W) of colours with alpha (H, W, 4) uint8."""
    colours, alpha = rgba[..., :3], rgba[..., 3]
    if alpha.min() == alpha.max():
        if not alpha.max():
            raise ValueError(f'{name} is wholly transparent: nothing can be seen. Save it without transparency.')
        return grey(colours, name, brightest)
    if (colours == colours[:1, :1]).all():
        return alpha
    opaque, cure = alpha >= 128, 'Save it without alpha, white on black.'
    if (colours == colours[..., :1]).all():
        bright = colours[..., 0] >= 128
        marked = int((bright | opaque).sum())
        if (bright != opaque).sum() <= SLACK * marked:
            return colours[..., 0]
        raise ValueError(
            f'{name} can be read in two ways: its colours mark {int(bright.sum())} pixels (white), its alpha '
            f'{int(opaque.sum())} (opaque). {cure}'
        )
    shown = colours[alpha > 0].astype(np.uint32)
    number = len(np.unique(shown[:, 0] << 16 | shown[:, 1] << 8 | shown[:, 2]))
    if 1 < number <= FEW_COLOURS:
        raise ValueError(
            f'{name} can be read in two ways: {number} colours that may be classes, on a transparent ground, or one '
            f'object of {int(opaque.sum())} opaque pixels. {cure}'
        )
    if number > 1:
        tell('cut-out masks', f'{name} is a cut-out photo: what is opaque in it is read as the object.')
    return alpha


def whole_numbers(values: np.ndarray) -> np.ndarray:
    """A mask of 0 and the white of 10 to 32 bits as 0 and 255; other masks as they are."""
    if values.dtype.kind in 'uif' and values.dtype != np.uint8 and values.size:
        top = values.max()
        if top in WHITES and ((values == 0) | (values == top)).all():
            return (values == top).astype(np.uint8) * 255
    return values


def bright_values(image: Image.Image, name: str) -> np.ndarray:
    """(H, W) uint8 of an open mask whose bright pixels are the object.

    1 bit gives 0 and 255, colours their largest channel.

    Raises:
        ValueError: When its values are no brightness, or as :func:`mask_values` says.
    """
    values = whole_numbers(mask_values(image, name, brightest=True))
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    if values.dtype == np.uint8:
        return values
    whole = values.dtype.kind in 'ui' or (np.isfinite(values).all() and (values == np.rint(values)).all())
    if not whole or values.min() < 0 or values.max() > 255:
        raise ValueError(
            f'{name} holds numbers from {values.min():g} to {values.max():g}: no black and white. Save it as a PNG of '
            '0 and 255.'
        )
    return values.astype(np.uint8)
