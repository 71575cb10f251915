# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The generated data set of the quickstart, as a data set class with PASCAL-5i's folds."""

from mmseg.datasets import PascalVOCDataset

from mmfss.registry import DATASETS

from .pascal5i import Pascal5iDataset
from .synthetic.catalog import SHAPE_CLASSES

SHAPE_CLASS_NAMES: tuple[str, ...] = tuple(shape.name for shape in SHAPE_CLASSES)


@DATASETS.register_module()
class ShapesDataset(Pascal5iDataset):
    """20 classes of patterned shapes that ``tools/dataset_converters/generate_shapes.py`` makes.

    Layout and folds are those of :class:`Pascal5iDataset`: novel classes of fold i are
    5i+1 ... 5i+5. Every class covers at least 2 % of each image it is in (327 of 128x128 pixels),
    so ``candidate_area=320`` makes an image of that size a candidate of all its classes.

    Args:
        **kwargs: See :class:`Pascal5iDataset`.
    """

    METAINFO = dict(classes=('background', *SHAPE_CLASS_NAMES), palette=PascalVOCDataset.METAINFO['palette'])
    list_hint = '`python tools/dataset_converters/generate_shapes.py` makes the data set and its lists.'
