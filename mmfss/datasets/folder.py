# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Folders of images and black-and-white masks, one folder a class: FSS-1000 (Li et al. 2020) and your own."""

import logging
import os
import re
from collections.abc import Sequence

import numpy as np
from mmengine.logging import print_log
from PIL import Image

from mmfss.registry import DATASETS

from .class_index import ClassIndex, Entry, index_histogram, load_class_index
from .input_checks import check_choice, check_folders
from .mapped_dataset import MappedFewShotDataset

BACKGROUND = 'background'
FSS1000_SIZES = dict(train=520, val=240, test=240)


def brightness_histogram(mask: Image.Image) -> np.ndarray:
    """(256,) pixels of each value of an open mask; of colours the largest channel."""
    if mask.mode not in ('1', 'L', 'P', 'RGB', 'RGBA'):
        raise ValueError(f'its mode is {mask.mode}; save it as a black and white PNG')
    values = np.array(mask)  # '1' gives 0 and 1, 'P' indices
    if values.ndim == 3:
        values = values[..., :3].max(axis=2)
    return np.bincount(values.reshape(-1), minlength=256)


@DATASETS.register_module()
class FolderFewShotDataset(MappedFewShotDataset):
    """``CLASS/K.jpg`` with ``CLASS/K.png``: every image shows the class of its folder, its mask says where.

    An image's name is ``CLASS/K``. Images are taken class after class, numbers in order.

    Args:
        data_root (str): Folder of the class folders.
        novel_classes (sequence | str, optional): Names of the classes to test on, or a text file of names below
            ``data_root``; all other folders are base classes.
        splits (str | dict, optional): Instead: folder of ``train.txt``, ``val.txt`` and ``test.txt``, or a dict of
            such files, one class name a line. Classes in no file are left out.
        eval_split (str): 'val' or 'test', which of the splits is novel. Defaults to 'test'.
        threshold (int): Mask values from here on are foreground. Defaults to 128; 1 for masks of 0 and 1.
        candidate_area (int): Defaults to 1: there is no area rule.
        img_suffix (str): Defaults to '.jpg'.
        seg_map_suffix (str): Defaults to '.png'.
        **kwargs: See :class:`FewShotSegDataset`.

    Raises:
        FileNotFoundError: When the root, a split file, a class folder or a mask is missing.
        ValueError: When a class is named twice, or both or neither of ``novel_classes`` and ``splits`` are given.
    """

    def __init__(
        self,
        *,
        data_root: str,
        novel_classes: Sequence[str] | str | None = None,
        splits: str | dict | None = None,
        eval_split: str = 'test',
        threshold: int = 128,
        candidate_area: int = 1,
        img_suffix: str = '.jpg',
        seg_map_suffix: str = '.png',
        **kwargs,
    ) -> None:
        check_choice('eval_split', eval_split, ('val', 'test'))
        if not 1 <= threshold <= 255:
            raise ValueError(f'`threshold` is {threshold}; it must be 1 to 255.')
        if (novel_classes is None) == (splits is None):
            raise ValueError('Give either `novel_classes` or `splits`.')
        check_folders(data_root, {})
        self.threshold = threshold
        self._position_class = ()
        if splits is not None:
            groups = self._read_splits(data_root, splits)
            base, novel_classes = groups['train'], groups[eval_split]
        else:
            if isinstance(novel_classes, str):
                novel_classes = read_class_list(os.path.join(data_root, novel_classes))
            base = self._base_classes(data_root, novel_classes)
        # Base classes come first: their ids do not depend on what is tested.
        self._check_classes(data_root, [*base, *novel_classes])
        super().__init__(
            data_root=data_root,
            novel_classes=list(novel_classes),
            candidate_area=candidate_area,
            metainfo=dict(classes=(BACKGROUND, *base, *novel_classes)),
            img_suffix=img_suffix,
            seg_map_suffix=seg_map_suffix,
            **kwargs,
        )

    def _base_classes(self, data_root: str, novel_classes: Sequence[str]) -> list[str]:
        return [name for name in class_folders(data_root) if name not in set(novel_classes)]

    @staticmethod
    def _read_splits(data_root: str, splits: str | dict) -> dict[str, list[str]]:
        if isinstance(splits, str):
            splits = {name: os.path.join(splits, f'{name}.txt') for name in FSS1000_SIZES}
        groups = {name: read_class_list(os.path.join(data_root, path)) for name, path in splits.items()}
        if 'train' not in groups:
            raise ValueError(f'`splits` has no train; it names {sorted(groups)}.')
        return {'val': groups.get('test', []), 'test': groups.get('val', []), **groups}

    @staticmethod
    def _check_classes(data_root: str, names: Sequence[str]) -> None:
        for place, name in enumerate(names):
            if name in names[:place] or name == BACKGROUND:
                raise ValueError(
                    f'The class {name} is named twice (in the splits, in `novel_classes`, or as '
                    f'`{BACKGROUND}`). Every class belongs to one split.'
                )
            if not os.path.isdir(os.path.join(data_root, name)):
                raise FileNotFoundError(
                    f'The class {name} has no folder in {data_root}. Check `novel_classes` or the split files.'
                )

    def load_data_list(self) -> list[dict]:
        """Every image of every class, before any filter."""
        names, classes = [], []
        for class_id, name in enumerate(self.class_names[1:], 1):
            files = os.listdir(os.path.join(self.data_root, name))
            found = sorted(
                (f[: -len(self.img_suffix)] for f in files if f.endswith(self.img_suffix)), key=natural_order
            )
            if not found:
                print_log(
                    f'The class folder {os.path.join(self.data_root, name)} holds no image *{self.img_suffix}.',
                    'current',
                    logging.WARNING,
                )
            names += [f'{name}/{image}' for image in found]
            classes += [class_id] * len(found)
        if not names:
            raise ValueError(f'There is no image (*{self.img_suffix}) in the class folders of {self.data_root}.')
        self._names, self._position_class = np.array(names), np.array(classes)
        return [dict(position=i) for i in range(len(names))]

    def _paths(self, name: str) -> tuple[str, str]:
        path = os.path.join(self.data_root, name)
        return path + self.img_suffix, path + self.seg_map_suffix

    def label_table(self, position: int) -> np.ndarray:
        """Bright pixels are the class of the folder, dark ones background."""
        table = np.zeros(256, dtype=np.int64)
        table[self.threshold :] = self._position_class[position]
        return table

    def load_values(self, files: list[Entry]) -> ClassIndex:
        """Count mask values; mmseg's own loading (stage 1) takes masks of one channel only."""
        histogram = index_histogram if self.labels == 'base' else brightness_histogram
        index = load_class_index(files, data_root=self.data_root, workers=self.index_workers, histogram=histogram)
        if len(index.labels) and 0 < index.labels.max() < self.threshold:
            raise ValueError(
                f'The masks of {self.data_root} hold no value above {index.labels.max()}, but `threshold` '
                f'is {self.threshold}: masks of 0 and 1 need `threshold=1`.'
            )
        return index


@DATASETS.register_module()
class FSS1000Dataset(FolderFewShotDataset):
    """FSS-1000 with its published split of 520, 240 and 240 classes, which lies in text files of class names.

    The names are not part of this package: put ``train.txt``, ``val.txt`` and ``test.txt`` into the folder ``splits``.

    Args:
        data_root (str): Folder of the 1,000 class folders.
        splits (str | dict): The split files. Defaults to 'splits', below ``data_root``.
        **kwargs: See :class:`FolderFewShotDataset`.

    Raises:
        ValueError: When a file does not hold as many classes as published.
    """

    def __init__(self, *, data_root: str, splits: str | dict = 'splits', **kwargs) -> None:
        super().__init__(data_root=data_root, splits=splits, **kwargs)

    @staticmethod
    def _read_splits(data_root: str, splits: str | dict) -> dict[str, list[str]]:
        groups = FolderFewShotDataset._read_splits(data_root, splits)
        sizes = {name: len(groups[name]) for name in FSS1000_SIZES}
        if sizes != FSS1000_SIZES:
            raise ValueError(
                f'The split files in {splits} hold {sizes} classes, published are {FSS1000_SIZES}. '
                'FolderFewShotDataset takes any split.'
            )
        return groups


def class_folders(data_root: str) -> list[str]:
    """Names of the folders that are not hidden, sorted."""
    return sorted(f.name for f in os.scandir(data_root) if f.is_dir() and not f.name.startswith('.'))


def read_class_list(path: str, what: str = 'class list', entry: str = 'class name') -> list[str]:
    """Names of a text file, one a line.

    Args:
        path (str): The file.
        what (str): What it is, for the error.
        entry (str): What a line holds.

    Raises:
        FileNotFoundError: When there is no such file.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'The {what} {path} does not exist. It holds one {entry} a line.')
    with open(path) as file:
        return [line.strip() for line in file if line.strip()]


def natural_order(name: str) -> list:
    """Sorts 2 before 10."""
    return [(0, int(part), '') if part.isdigit() else (1, 0, part) for part in re.split(r'(\d+)', name) if part]
