# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""DividedFolderDataset: the images of each class are divided, not the classes, to fine-tune on the classes wanted."""

import os

import numpy as np

from mmfss.registry import DATASETS

from .folder import FolderFewShotDataset, class_folders, read_class_list
from .input_checks import check_folders
from .listings import stem_of


@DATASETS.register_module()
class DividedFolderDataset(FolderFewShotDataset):
    """``CLASS/K.jpg`` with ``CLASS/K.png``: some images of every class to train on, all others to test on.

    Phase 'train' draws queries and supports from the training images. In phase 'val' queries are the other images and
    supports the training images: the masks that somebody who has just these would show the model. No image is ever in
    both parts, and the division depends on names alone.

    Args:
        data_root (str): Folder of the class folders.
        train_images (int | str): A number: the first so many images of every class, in the order of their numbers, are
            for training. A text file below ``data_root``: it names them, ``CLASS/K`` a line, and with them the classes;
            other folders are left out. Defaults to 5.
        **kwargs: See :class:`FolderFewShotDataset`; there are no ``novel_classes`` and no ``splits``.

    Raises:
        FileNotFoundError: When the root, the list, a folder, an image or a mask is missing.
        ValueError: When a name of the list is unknown, named twice or no ``CLASS/K``, or a part is empty.
    """

    def __init__(self, *, data_root: str, train_images: int | str = 5, **kwargs) -> None:
        check_folders(data_root, {})
        self.train_images = train_images
        if isinstance(train_images, str):
            self._list = os.path.join(data_root, train_images)
            self._listed = self._read_list()
            classes = sorted({name.split('/')[0] for name in self._listed})
        elif train_images < 1:
            raise ValueError(f'`train_images` is {train_images}; it must be at least 1, or a list file.')
        else:
            classes = class_folders(data_root)
        if not classes:
            raise ValueError(f'There is no class folder in {data_root}; it needs CLASS/K.jpg with CLASS/K.png.')
        super().__init__(data_root=data_root, novel_classes=classes, **kwargs)

    def _read_list(self) -> list[str]:
        names = read_class_list(self._list, 'list of training images', 'name, CLASS/K without suffix,')
        for place, name in enumerate(names):
            if name.count('/') != 1 or name in names[:place]:
                reason = 'is named twice' if name in names[:place] else 'is no CLASS/K'
                raise ValueError(f'{name} {reason} in the list of training images {self._list}.')
        if not names:
            raise ValueError(f'The list of training images {self._list} is empty.')
        return names

    def _base_classes(self, data_root: str, novel_classes: list[str]) -> list[str]:
        return []

    def _set_classes(self, metainfo: dict, novel_classes: list[str]) -> None:
        """All classes are wanted; there is none that only a base learner knows."""
        self._set_names(metainfo)
        self.novel_class_ids, self.base_class_ids = tuple(range(1, len(self.class_names))), ()

    @property
    def phase_class_ids(self) -> tuple[int, ...]:
        """Training and test are about the same classes."""
        return self.novel_class_ids

    def load_data_list(self) -> list[dict]:
        """Every image of every class, and which of them are for training."""
        data = super().load_data_list()
        if isinstance(self.train_images, str):
            known = set(self._names)
            # A list may hold suffixes too.
            self._listed = [n if n in known else stem_of(n, self.img_suffix) or n for n in self._listed]
            twice = next((n for place, n in enumerate(self._listed) if n in self._listed[:place]), None)
            if twice is not None:
                raise ValueError(f'{twice} is named twice in the list of training images {self._list}.')
            unknown = [name for name in self._listed if name not in known]
            if unknown:
                raise ValueError(
                    f'{len(unknown)} of {len(self._listed)} training images of {self._list} are not in '
                    f'{self.data_root}, the first is {unknown[0]} (*{self.img_suffix}).'
                )
            self._for_training = np.isin(list(self._names), self._listed)  # (N,)
        else:
            classes, first = np.unique(self._position_class, return_index=True)
            rank = np.arange(len(data)) - first[np.searchsorted(classes, self._position_class)]  # within its class
            self._for_training = rank < self.train_images
        if self._for_training.all():
            raise ValueError(
                f'All {len(data)} images of {self.data_root} are for training, none is left to test on: '
                f'take fewer `train_images` (now {self.train_images}).'
            )
        return data

    def _phase_images(self) -> np.ndarray:
        own = self._for_training if self.phase == 'train' else ~self._for_training
        return own & self._shows_its_class()

    def _shows_its_class(self) -> np.ndarray:
        """Which images are candidates of the class of their folder, (N,) bool."""
        shown = np.zeros(len(self._index), dtype=bool)
        for class_id in self.novel_class_ids:
            shown |= self._index.areas(class_id) >= self.candidate_area
        return shown

    def support_positions(self, class_id: int) -> np.ndarray:
        """The training images of a class, in test too."""
        mine = self._for_training & (self._position_class == class_id)
        return np.flatnonzero(mine & self._shows_its_class())
