# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Annotations of other tools as the annotation of a support: files, COCO annotations, RLEs."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

from mmfss.datasets.annotations import is_annotation, read_annotation
from mmfss.datasets.annotations.arrays import VOC_NAMES, is_voc_palette

_IN_MEMORY = ({'counts', 'size'}, {'segmentation'}, {'shapes'}, {'images', 'annotations', 'categories'})


def tool_labels(annotation: Any, shape: tuple[int, int], path: str | None) -> Any:
    """Labels of what an annotation tool wrote; anything else as it was given, without a label that it does not need.

    Args:
        annotation (Any): Of :func:`mmfss.apis.support_masks.support_mask`. A file of labelme, COCO, YOLO, CVAT, Pascal
            VOC or numpy, or such a file's content, a COCO annotation or an RLE in memory; as ``dict(mask=...,
            label='cat')`` where it has several labels.
        shape (tuple[int, int]): Height and width of the image.
        path (str, optional): The image's file, by whose name it is found in files of many images.

    Returns:
        (H, W) uint8 of 0, 1 and 255, or the annotation itself.

    Raises:
        AnnotationError: When it cannot be used, see :func:`mmfss.datasets.annotations.read_annotation`.
    """
    source, label, options = annotation, None, {}
    if isinstance(annotation, dict) and 'mask' in annotation:
        options = dict(annotation)
        source, label = options.pop('mask'), options.pop('label', None)
    if isinstance(source, Mapping) and any(keys <= set(source) for keys in _IN_MEMORY):
        return read_annotation(source, path, shape, label)
    if not isinstance(source, (str, PathLike)):
        return dict(mask=source, **options) if label is not None else annotation
    if is_annotation(source):
        if label is None and options.get('value') is not None:
            label = str(options['value'])  # of an array, a value is the label
        return read_annotation(source, path, shape, label)
    if label is None:
        return annotation
    value = _value_of(source, str(label))
    return dict(mask=source, **(options if value is None else {**options, 'value': value}))


def _value_of(mask: str | PathLike, label: str) -> int | None:
    """The value of a label in a mask image: a number, or a name of VOC with VOC's palette; else None."""
    if label.isdigit():
        return int(label)
    return VOC_NAMES.index(label) if label in VOC_NAMES and is_voc_palette(mask) else None
