# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Images as users have them (paths, arrays, PIL images) to what a pipeline goes on with."""

from os import PathLike

import numpy as np
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from mmfss.datasets.bit_depth import to_8_bit
from mmfss.datasets.image_files import array_rgb, pil_rgb
from mmfss.datasets.image_headers import check_file
from mmfss.datasets.transforms import start_padding_map

ImageLike = str | PathLike | np.ndarray | Image.Image


def load_image(image: ImageLike, loader: LoadImageFromFile, name: str) -> dict:
    """Results of a pipeline's loading step, whatever the image comes as.

    Args:
        image (ImageLike): Path, array (H, W, 3) RGB or (H, W) grey, PIL image; see
            :mod:`mmfss.datasets.image_files` for bit depths, transparency and rotation.
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
        loaded = loader(dict(img_path=str(image)))
        to_8_bit(loaded['img'].astype(np.uint8), f'The image {image}')  # says when it is nearly black
        return loaded
    if isinstance(image, Image.Image):
        array = pil_rgb(image, name)
    elif isinstance(image, np.ndarray):
        array = array_rgb(image, name)
    else:
        raise TypeError(f'{name} is a {type(image).__name__}; give a path, an (H, W, 3) uint8 RGB array or a PIL image')
    shape = array.shape[:2]
    bgr = np.ascontiguousarray(array[..., ::-1])
    return start_padding_map(
        dict(img=bgr.astype(np.float32) if loader.to_float32 else bgr, img_shape=shape, ori_shape=shape, img_path=name)
    )


def rgb(loaded: dict) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a loaded image."""
    return np.ascontiguousarray(loaded['img'][..., ::-1]).astype(np.uint8)
