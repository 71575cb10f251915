# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""COCO-20i: the 80 thing classes of COCO in four folds of twenty."""

from mmseg.datasets import COCOStuffDataset

from mmfss.registry import DATASETS

from .few_shot_dataset import FewShotSegDataset
from .input_checks import check_choice

NUM_CLASSES = 80


@DATASETS.register_module()
class COCO20iDataset(FewShotSegDataset):
    """COCO-20i on index masks: 1..80 in the order of COCO's ids, 0 background, 255 crowd.

    Expects ``{train,val}2014/*.jpg`` and ``annotations/{train,val}2014/*.png``, with or without a
    list (without: every image of the folder, sorted by name).

    Args:
        scheme (str): 'fwb' (Nguyen and Todorovic 2019, used by PFENet, BAM, HSNet and MSANet):
            class c is novel in fold (c - 1) % 4. 'panet' (Wang et al. 2019): twenty consecutive
            classes a fold.
        year (str): Which release the folders are named after. Defaults to '2014'.
        **kwargs: See :class:`FewShotSegDataset`; ``data_prefix`` follows phase and year.
    """

    # COCO-Stuff begins with the 80 thing classes, in the order of their ids.
    METAINFO = dict(
        classes=('background', *COCOStuffDataset.METAINFO['classes'][:NUM_CLASSES]),
        palette=[[0, 0, 0], *COCOStuffDataset.METAINFO['palette'][:NUM_CLASSES]],
    )

    def __init__(
        self,
        *,
        scheme: str = 'fwb',
        year: str = '2014',
        phase: str = 'train',
        data_prefix: dict | None = None,
        **kwargs,
    ) -> None:
        check_choice('scheme', scheme, ('fwb', 'panet'))
        self.scheme = scheme
        layout = dict(img_path=f'{phase}{year}', seg_map_path=f'annotations/{phase}{year}')
        super().__init__(phase=phase, data_prefix=data_prefix or layout, **kwargs)

    def split_classes(self) -> range:
        """Every fourth class (FWB) or twenty consecutive ones (PANet)."""
        if self.scheme == 'fwb':
            return range(self.fold + 1, NUM_CLASSES + 1, self.num_folds)
        return range(20 * self.fold + 1, 20 * self.fold + 21)
