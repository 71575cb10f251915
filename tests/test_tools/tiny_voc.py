# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A VOC-layout data set of 64x64 pixels that is written in a second."""

from pathlib import Path

import numpy as np
from PIL import Image

IMAGES_A_CLASS = 7  # one query and up to six supports
SIDE = 64


def write_tiny_voc(root: Path) -> Path:
    """Write one image for each of 20 classes x 7: a square of the class's colour on noise.

    Args:
        root (Path): Data root to make.

    Returns:
        Path: ``root``.
    """
    rng = np.random.default_rng(0)
    for folder in ('JPEGImages', 'SegmentationClassAug', 'ImageSets/Segmentation'):
        (root / folder).mkdir(parents=True)
    colours = rng.integers(0, 256, (21, 3))
    names = []
    for class_id in range(1, 21):
        for number in range(IMAGES_A_CLASS):
            name = f'c{class_id:02d}_{number}'
            image = rng.integers(0, 256, (SIDE, SIDE, 3))
            mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
            top, left = rng.integers(0, SIDE // 2, 2)
            square = np.s_[top : top + 28, left : left + 28]
            image[square] = (colours[class_id] + rng.integers(-20, 20, (28, 28, 3))).clip(0, 255)
            mask[square] = class_id
            Image.fromarray(image.astype(np.uint8)).save(root / 'JPEGImages' / f'{name}.jpg')
            Image.fromarray(mask).save(root / 'SegmentationClassAug' / f'{name}.png')
            names.append(name)
    (root / 'ImageSets/Segmentation/trainaug.txt').write_text('\n'.join(names) + '\n')
    return root
