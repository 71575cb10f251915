# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Images as users have them (paths, arrays, PIL images) to what a pipeline goes on with."""

import warnings
from os import PathLike
from pathlib import Path

import cv2
import numpy as np
from mmcv.transforms import LoadImageFromFile
from PIL import Image, ImageOps

from mmfss.datasets.transforms import CorruptFileError, start_padding_map

ImageLike = str | PathLike | np.ndarray | Image.Image


def check_file(path: str | PathLike) -> None:
    """Refuse, by its first bytes, a file that is missing, no image, or huge.

    Raises:
        FileNotFoundError: When there is no such file.
        CorruptFileError: When it is no image.
        ValueError: When it has more pixels than ``PIL.Image.MAX_IMAGE_PIXELS`` allows.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no image {path}. Check the path.')
    limit, size = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                size = opened.size
    except Image.DecompressionBombError:
        raise ValueError(_too_large(path, None, limit)) from None
    except Exception as error:  # each decoder raises its own kind
        if not cv2.haveImageReader(str(path)):
            raise CorruptFileError(
                f'The image {path} cannot be read: it is no image, or cut off. Fetch or save it again, or take it out.'
            ) from error
    if size is not None and limit and size[0] * size[1] > limit:
        raise ValueError(_too_large(path, size, limit))


def _too_large(path, size: tuple[int, int] | None, limit: int) -> str:
    what = f'{size[0]}x{size[1]} = {size[0] * size[1] / 1e6:.0f}' if size else f'more than {2 * limit / 1e6:.0f}'
    return (
        f'The image {path} is huge: {what} megapixels, allowed are {limit / 1e6:.0f}. Make it smaller (the network '
        'sees a few hundred pixels a side anyway), cut it into tiles, or, if you trust the file, set '
        'PIL.Image.MAX_IMAGE_PIXELS = None (command line: --max-megapixels N).'
    )


def load_image(image: ImageLike, loader: LoadImageFromFile, name: str) -> dict:
    """Results of a pipeline's loading step, whatever the image comes as.

    Args:
        image (ImageLike): Path; (H, W, 3) uint8 RGB array; PIL image. A camera's rotation (EXIF) of files and PIL
            images is undone.
        loader (LoadImageFromFile): The step that loads files.
        name (str): How errors name an image that is no file.

    Returns:
        dict: ``img`` (H, W, 3) BGR in the loader's dtype, ``img_shape``, ``ori_shape``, ``img_path``.

    Raises:
        CorruptFileError: When the file cannot be decoded.
        TypeError, ValueError: When it is something else.
    """
    if isinstance(image, (str, PathLike)):
        check_file(image)
        return loader(dict(img_path=str(image)))
    if isinstance(image, Image.Image):
        array = pil_array(image, name)
    elif isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(
                f'{name} is an array of shape {image.shape} and type {image.dtype}; an image is (H, W, 3) uint8 RGB'
            )
        array = image
    else:
        raise TypeError(f'{name} is a {type(image).__name__}; give a path, an (H, W, 3) uint8 RGB array or a PIL image')
    shape = array.shape[:2]
    bgr = np.ascontiguousarray(array[..., ::-1])
    return start_padding_map(
        dict(img=bgr.astype(np.float32) if loader.to_float32 else bgr, img_shape=shape, ori_shape=shape, img_path=name)
    )


def pil_array(image: Image.Image, name: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a PIL image, upright.

    Raises:
        CorruptFileError: When it was opened from a file that cannot be decoded.
    """
    try:
        return np.asarray(ImageOps.exif_transpose(image).convert('RGB'))
    except OSError as error:
        raise CorruptFileError(
            f'The image {getattr(image, "filename", "") or name} cannot be decoded ({error}). Fetch or save it again.'
        ) from error


def rgb(loaded: dict) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a loaded image."""
    return np.ascontiguousarray(loaded['img'][..., ::-1]).astype(np.uint8)
