# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Results in the formats of annotation tools: ``labelme/NAME.json`` and ``yolo/labels/NAME.txt``."""

import os
from collections.abc import Sequence
from pathlib import Path

from mmfss.datasets.annotations.writing import labelme_text, yolo_data, yolo_text
from mmfss.utils.files import atomic_write_text

from .results import SegmentationResult

FORMATS = ('png', 'coco', 'labelme', 'yolo')
DEFAULT_FORMATS = ('png', 'coco')


def check_formats(formats: Sequence[str]) -> tuple[str, ...]:
    """The formats, each once.

    Raises:
        ValueError: When one is not known.
    """
    formats = (formats,) if isinstance(formats, str) else tuple(dict.fromkeys(formats))
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise ValueError(f'there is no format {unknown[0]!r}; there are {", ".join(FORMATS)}')
    return formats


def tool_files(root: Path, name: str, formats: Sequence[str]) -> list[Path]:
    """The files of an image that :func:`write_tool_files` writes."""
    places = dict(labelme=root / 'labelme' / f'{name}.json', yolo=root / 'yolo' / 'labels' / f'{name}.txt')
    return [path for key, path in places.items() if key in formats]


def write_tool_files(root: Path, result: SegmentationResult, formats: Sequence[str], cure: str) -> None:
    """Write an image's result in the formats of tools, each separate part of a class as one outline.

    Args:
        root (Path): Folder of the results.
        result (SegmentationResult): What was found.
        formats (Sequence[str]): Of :data:`FORMATS`; 'png' and 'coco' are not written here.
        cure (str): Last sentence of errors.

    Raises:
        OSError: When a file cannot be written.
    """
    for path in tool_files(root, result.name, formats):
        if path.suffix == '.txt':
            atomic_write_text(yolo_text(result.mask, len(result.class_names)), path, cure)
            continue
        source = Path(result.source).absolute()
        if result.source and source.is_file():
            where, image = Path(os.path.relpath(source, path.absolute().parent)).as_posix(), None
        else:  # a frame or an array: labelme takes the image from the file
            where, image = f'{Path(result.name).name}.png', result.image
        atomic_write_text(labelme_text(result.mask, result.class_names, where, image), path, cure)


def write_class_names(root: Path, names: Sequence[str], formats: Sequence[str], cure: str) -> None:
    """Write ``yolo/data.yaml`` and ``yolo/classes.txt`` where YOLO is among the formats.

    Raises:
        OSError: When a file cannot be written.
    """
    if 'yolo' in formats:
        atomic_write_text(yolo_data(names, 'images'), root / 'yolo' / 'data.yaml', cure)
        atomic_write_text(''.join(f'{name}\n' for name in names), root / 'yolo' / 'classes.txt', cure)
