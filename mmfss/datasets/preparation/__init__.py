# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Preparing the benchmarks from their official downloads; used by tools/dataset_converters."""

from .coco import CROWD_RULES, OVERLAP_RULES, WITHOUT_RULES, paint_objects, prepare_coco, read_instances
from .files import PreparationError
from .pascal import prepare_pascal
from .verification import ListCount, count_images, difference

__all__ = [
    'CROWD_RULES',
    'ListCount',
    'OVERLAP_RULES',
    'PreparationError',
    'WITHOUT_RULES',
    'count_images',
    'difference',
    'paint_objects',
    'prepare_coco',
    'prepare_pascal',
    'read_instances',
]
