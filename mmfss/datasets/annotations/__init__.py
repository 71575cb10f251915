# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Annotations as tools write them: one file a format, and one function that reads them all."""

from .errors import AnnotationError
from .kinds import is_annotation, read_content, read_file
from .reading import read_annotation
from .segmentation import Segmentation, read_segmentation

__all__ = [
    'AnnotationError',
    'Segmentation',
    'is_annotation',
    'read_annotation',
    'read_content',
    'read_file',
    'read_segmentation',
]
