# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Masks in the formats of annotation tools, so that they can be corrected there."""

import base64
import io
import json
from collections.abc import Sequence

import numpy as np
import yaml
from PIL import Image

from .outlines import outlines

LABELME_VERSION = '5.5.0'  # whose files these are like; labelme compares it when it reads them


def labelme_text(
    mask: np.ndarray, names: Sequence[str], image_path: str, image: np.ndarray | None = None, digits: int = 2
) -> str:
    """A labelme file: a polygon for each separate part of each class.

    Args:
        mask (np.ndarray): (H, W) uint8, i is the i-th class of ``names``, from 1.
        names (Sequence[str]): Class names.
        image_path (str): Path of the image as seen from the file.
        image (np.ndarray, optional): (H, W, 3) uint8 RGB to put into the file, for images that are no files.
        digits (int): Of coordinates.

    Returns:
        str: JSON.
    """
    shapes = [
        dict(
            label=name,
            points=outline.round(digits).tolist(),
            group_id=None,
            description='',
            shape_type='polygon',
            flags={},
            mask=None,
        )
        for index, name in enumerate(names, 1)
        for outline in outlines(mask == index)
    ]
    data = None
    if image is not None:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, 'PNG')
        data = base64.b64encode(stream.getvalue()).decode()
    content = dict(
        version=LABELME_VERSION,
        flags={},
        shapes=shapes,
        imagePath=image_path,
        imageData=data,
        imageHeight=int(mask.shape[0]),
        imageWidth=int(mask.shape[1]),
    )
    return json.dumps(content, ensure_ascii=False, indent=1) + '\n'


def yolo_text(mask: np.ndarray, num_classes: int) -> str:
    """YOLO's outlines: a line for each separate part, class numbers from 0, coordinates as shares of the size."""
    size = np.array(mask.shape[::-1], float)
    return ''.join(
        f'{index - 1} ' + ' '.join(f'{value:.6f}' for value in (outline / size).reshape(-1)) + '\n'
        for index in range(1, num_classes + 1)
        for outline in outlines(mask == index)
    )


def yolo_data(names: Sequence[str], images: str) -> str:
    """The ``data.yaml`` of a YOLO data set."""
    content = dict(path='.', train=images, val=images, names=dict(enumerate(names)))
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
