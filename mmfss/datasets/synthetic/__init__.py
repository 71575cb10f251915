# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A generated VOC-layout data set: the whole pipeline runs without downloading anything."""

from .catalog import SHAPE_CLASSES, ShapeClass
from .linked import write_linked_coco
from .scene import render_scene
from .writer import ShapesSpec, generate_shapes

__all__ = ['SHAPE_CLASSES', 'ShapeClass', 'ShapesSpec', 'generate_shapes', 'render_scene', 'write_linked_coco']
