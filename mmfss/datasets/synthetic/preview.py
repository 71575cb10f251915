# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A contact sheet of a generated data set: cut-outs of each class, and images with outlines."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from .catalog import SHAPE_CLASSES

TILE, WHOLE, TEXT = 72, 144, 16  # pixels
CUTOUTS, COLUMNS, ROWS = 8, 9, 4


def preview_sheet(root: str | Path, split: str = 'train') -> np.ndarray:
    """Draws the sheet of one split.

    Args:
        root (str | Path): Folder of the data set (VOC layout).
        split (str): Name of the image list.

    Returns:
        (H, W, 3) uint8 RGB. Upper part: two classes a row, up to eight cut-outs each. Lower part:
        whole images, and the same with the outlines of their masks, one colour a class.
    """
    root = Path(root)
    ids = (root / 'ImageSets/Segmentation' / f'{split}.txt').read_text().split()
    pairs = [
        (
            np.asarray(Image.open(root / 'JPEGImages' / f'{i}.jpg').convert('RGB')),
            np.asarray(Image.open(root / 'SegmentationClassAug' / f'{i}.png')),
        )
        for i in ids
    ]
    upper = np.concatenate(
        [np.concatenate([_class_row(pairs, c) for c in (left, left + 10)], axis=1) for left in range(1, 11)]
    )
    lower = np.concatenate([_image_row(pairs[row * COLUMNS : (row + 1) * COLUMNS]) for row in range(ROWS)])
    width = max(upper.shape[1], lower.shape[1])
    return np.concatenate([_pad(upper, width), _pad(lower, width)])


def _class_row(pairs: list[tuple[np.ndarray, np.ndarray]], class_id: int) -> np.ndarray:
    cutouts = []
    for image, label in pairs:
        if len(cutouts) == CUTOUTS:
            break
        if (label == class_id).any():
            cutouts.append(_cutout(image, label == class_id))
    row = _pad(np.concatenate(cutouts or [np.zeros((TILE, TILE, 3), np.uint8)], axis=1), CUTOUTS * TILE + 8)
    return np.concatenate([_caption(f'{class_id} {SHAPE_CLASSES[class_id - 1].name}', row.shape[1]), row])


def _cutout(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The largest connected piece of a mask with a margin, (TILE, TILE, 3)."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    x, y, width, height, _ = stats[1:][stats[1:, cv2.CC_STAT_AREA].argmax()]
    half = int(0.6 * max(width, height)) + 1
    padded = np.pad(image, ((half, half), (half, half), (0, 0)), mode='edge')
    top, left = y + height // 2, x + width // 2  # the centre is shifted by the padding
    return cv2.resize(
        padded[top : top + 2 * half, left : left + 2 * half],
        (TILE, TILE),
        interpolation=cv2.INTER_CUBIC,
    )


def _image_row(pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    columns = []
    for image, label in pairs:
        whole = cv2.resize(image, (WHOLE, WHOLE), interpolation=cv2.INTER_CUBIC)
        large = cv2.resize(label, (WHOLE, WHOLE), interpolation=cv2.INTER_NEAREST)
        outlined, names = whole.copy(), []
        for class_id in [c for c in np.unique(large) if c not in (0, 255)]:
            contours, _ = cv2.findContours((large == class_id).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
            colour = ((255, 255, 255), (255, 235, 0), (0, 255, 255))[len(names) % 3]
            cv2.drawContours(outlined, contours, -1, colour, 1)
            names.append(str(class_id))
        columns.append(np.concatenate([whole, outlined, _caption('classes ' + ', '.join(names), WHOLE)]))
    return np.concatenate(columns, axis=1)


def _caption(text: str, width: int) -> np.ndarray:
    strip = np.full((TEXT, width, 3), 255, np.uint8)
    return cv2.putText(strip, text, (3, TEXT - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)


def _pad(picture: np.ndarray, width: int) -> np.ndarray:
    return np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=255)
