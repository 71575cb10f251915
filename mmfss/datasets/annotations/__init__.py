# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Annotations as tools write them: one file a format, one function that reads them all."""

from .errors import AnnotationError
from .segmentation import Segmentation, read_segmentation

__all__ = ['AnnotationError', 'Segmentation', 'read_segmentation']
