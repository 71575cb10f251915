# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""PASCAL-5i (OSLSM, Shaban et al. 2017): the 20 classes of VOC 2012 in four folds of five."""

from mmseg.datasets import PascalVOCDataset

from mmfss.registry import DATASETS

from .few_shot_dataset import FewShotSegDataset


@DATASETS.register_module()
class Pascal5iDataset(FewShotSegDataset):
    """PASCAL-5i on the VOC layout with SBD's additional masks.

    Expects ``JPEGImages/*.jpg``, ``SegmentationClassAug/*.png`` (palette or grey PNGs of class
    indices, 255 at object borders) and lists under ``ImageSets/Segmentation``. Novel classes of
    fold i are 5i+1 ... 5i+5 in VOC order.

    Args:
        **kwargs: See :class:`FewShotSegDataset`; ``data_prefix`` has the layout above as default.
    """

    METAINFO = dict(classes=PascalVOCDataset.METAINFO['classes'], palette=PascalVOCDataset.METAINFO['palette'])
    list_hint = (
        'The published training list train_5953.txt is written by `python tools/dataset_converters/pascal5i.py --voc '
        'VOC2012 --sbd benchmark_RELEASE`; another list of a config is chosen with the variable MMFSS_TRAIN_LIST, such '
        "as ImageSets/Segmentation/train.txt, VOC2012's own 1,464 images."
    )

    def __init__(self, *, data_prefix: dict | None = None, **kwargs) -> None:
        layout = dict(img_path='JPEGImages', seg_map_path='SegmentationClassAug')
        super().__init__(data_prefix=data_prefix or layout, **kwargs)

    def split_classes(self) -> range:
        """Five consecutive classes a fold."""
        return range(5 * self.fold + 1, 5 * self.fold + 6)
