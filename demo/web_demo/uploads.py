# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Annotation files that a visitor drops beside images: labelme, COCO, YOLO, CVAT, Pascal VOC, ``.npy``."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmfss.datasets.annotations import AnnotationError, read_file
from mmfss.datasets.annotations.kinds import SUFFIXES
from mmfss.datasets.annotations.objects import AnnotationFile
from mmfss.datasets.annotations.reading import check_size, find_image
from mmfss.datasets.annotations.yolo import NAME_FILES, read_class_names
from mmfss.utils.wording import listed

MANY = ('COCO', 'CVAT')  # formats of many images; the others belong to the image of their own name
ACCEPTED = (*SUFFIXES, '.yaml', '.yml', '.names')


def sort_uploads(paths: Sequence[str | Path]) -> tuple[list[str], list[AnnotationFile], list[str]]:
    """Tell images from annotations.

    Args:
        paths (Sequence[str | Path]): Of the uploads.

    Returns:
        tuple: The images' paths, the annotations, and a line on each file that is of no use.
    """
    images, files, notes = [], [], []
    others = [Path(path) for path in paths if Path(path).suffix.lower() in ACCEPTED]
    names = ()
    for path in (path for path in others if path.name in NAME_FILES):
        try:
            names = read_class_names(path)
        except (AnnotationError, OSError) as error:
            notes.append(_for_visitor(error, path))
    for path in (path for path in others if path.name not in NAME_FILES):
        try:
            # Names that are not uploaded are not looked for: the folders around belong to others.
            files.append(read_file(path, class_names=names))
        except (AnnotationError, OSError) as error:
            notes.append(_for_visitor(error, path))
    images = [str(path) for path in paths if Path(path).suffix.lower() not in ACCEPTED]
    return images, files, notes


def find_mark(
    files: Sequence[AnnotationFile], name: str, size: tuple[int, int], label: str
) -> tuple[np.ndarray | None, str]:
    """What the dropped annotations mark on an image.

    Args:
        files (Sequence[AnnotationFile]): All that were dropped.
        name (str): Of the image.
        size (tuple[int, int]): (H, W) of the image.
        label (str): Name of the class as the visitor has typed it; chooses among several labels.

    Returns:
        tuple: (H, W) bool or None, and a line for the visitor, empty where there is nothing to say.
    """
    for file in files:
        path = Path(file.path)
        if file.kind not in MANY and Path(name).stem not in (path.stem, Path(file.images[0].name or '').stem):
            continue
        try:
            image = find_image(file, name)
        except AnnotationError:
            continue
        try:
            check_size(image, size, path.name, name)
            if not image.labels:
                return None, f'{path.name} marks nothing on {name}. Paint over the object.'
            if len(image.labels) > 1 and label not in image.labels:
                return None, (
                    f'{path.name} marks {listed(image.labels)} on {name}. Type the one that is meant as the name of '
                    'the class and drop the files again, or paint over the object.'
                )
            chosen = label if label in image.labels else image.labels[0]
            mask = image.mask(chosen, size, path.name) == 1
        except AnnotationError as error:
            return None, _for_visitor(error, path)
        return (mask, '') if mask.any() else (None, f'{path.name} marks no pixel of {name}. Paint over the object.')
    return None, ''


def _for_visitor(error: Exception, path: Path) -> str:
    return str(error).replace(str(path), path.name)  # where uploads lie is nobody's business
