# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""YOLO's text files, a line an object: ``class x y x y ...`` (outline) or ``class x y width height`` (box), 0..1."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from .errors import AnnotationError, finite_numbers
from .loading import decode_text, read_bytes
from .objects import AnnotatedImage, AnnotatedObject, AnnotationFile, box, polygon

NAME_FILES = ('data.yaml', 'dataset.yaml', 'data.yml', 'classes.txt', 'obj.names', '_darknet.labels', 'labels.txt')
LEVELS = 3  # folders that are searched for them, from the file's own upwards
SLACK = 0.02  # of the size: augmentation and rounding reach so far over the edge
_LINE = re.compile(r'^\s*\d+(\.0*)?([ \t]+[-+.\deEnaifNAIF]+){4,}\s*$')


def looks_like_yolo(text: str) -> bool:
    """Whether the first line that is not empty is a class and at least four numbers."""
    first = next((line for line in text.splitlines() if line.strip()), '')
    return bool(_LINE.match(first))


def read_yolo(text: str, path: str, names: tuple[str, ...] | None = None) -> AnnotationFile:
    """Objects of one image's file.

    Args:
        text (str): Of the file.
        path (str): Of the file; its name is the image's, and the class names lie beside it or above.
        names (tuple[str, ...], optional): Class names; None looks for them.

    Raises:
        AnnotationError: When a line is none of the two kinds, holds pixels, or a class that has no name.
    """
    names = class_names(path) if names is None else names
    objects = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            objects.append(_object(line.split(), f'line {number}', names))
        except AnnotationError as error:
            raise AnnotationError(
                f'line {number} of {path}: {error}. A line is `class x y x y x y ...` or `class x y width height`, in '
                'shares of the size, 0 to 1. Export the file again.'
            ) from error
    return AnnotationFile(path, 'YOLO', (AnnotatedImage(Path(path).name, None, tuple(objects)),), names)


def _object(words: list[str], name: str, names: tuple[str, ...]) -> AnnotatedObject:
    index, values = finite_numbers(words[:1], 'the class')[0], finite_numbers(words[1:], 'the line')
    if index != int(index) or index < 0:
        raise AnnotationError(f'the class {words[0]} is no whole number from 0')
    if names and index >= len(names):
        raise AnnotationError(f'the class {words[0]} has no name; there are {len(names)}: {", ".join(names[:8])}')
    if len(values) == 5:  # a predicted box ends with its confidence
        values = values[:-1]
    if len(values) % 2:
        raise AnnotationError('half a point is missing, or a confidence stands at the end')
    if len(values) < 4:
        raise AnnotationError(f'it holds {len(words)} values')
    if values.min() < -SLACK or values.max() > 1 + SLACK:
        raise AnnotationError(f'{values[np.argmax(np.abs(values))]:g} is no share of the size; pixels are not taken')
    label = names[int(index)] if names else str(int(index))
    return AnnotatedObject(label, name, partial(_paint, tuple(values.tolist())))


def _paint(values: tuple[float, ...], height: int, width: int) -> np.ndarray:
    if len(values) == 4:
        x, y, w, h = values
        return box((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)(height, width)
    return polygon(np.reshape(values, (-1, 2)) * (width, height))(height, width)


def class_names(path: str | Path) -> tuple[str, ...]:
    """Class names that lie beside a label file or above it; empty where there are none.

    Raises:
        AnnotationError: When the file of the names cannot be read.
    """
    for folder in list(Path(path).absolute().parents)[:LEVELS]:
        for name in NAME_FILES:
            if (folder / name).is_file() and (folder / name) != Path(path).absolute():
                return read_class_names(folder / name)
    return ()


def read_class_names(path: Path) -> tuple[str, ...]:
    """Class names of a ``data.yaml`` (``names``, a list or numbered) or of a text file, one a line.

    Raises:
        AnnotationError: When there are none in it.
    """
    text = decode_text(read_bytes(path))
    if path.suffix not in ('.yaml', '.yml'):
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    try:
        names = yaml.safe_load(text)['names']
        if isinstance(names, dict):
            names = [names[index] for index in range(len(names))]
        if not isinstance(names, list):
            raise TypeError(f'`names` is a {type(names).__name__}')
        if nested := [type(name).__name__ for name in names if isinstance(name, (list, dict, set, tuple))]:
            raise TypeError(f'a name is a {nested[0]}')  # its text may be of any length: YAML has references
        return tuple(str(name) for name in names)
    except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as error:  # of a date
        raise AnnotationError(
            f'{path} holds no class names ({type(error).__name__}: {error}). It needs `names: [a, b]` or `names: '
            '{0: a, 1: b}`.'
        ) from error
