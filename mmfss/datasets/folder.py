# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Folders of images and black-and-white masks, one folder a class: FSS-1000 (Li et al. 2020) and your own."""

import logging
import os
from collections.abc import Sequence

import numpy as np
from mmengine.logging import print_log
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from mmfss.registry import DATASETS

from .class_index import ClassIndex, Entry, load_class_index
from .input_checks import check_brightness, check_choice, check_folders
from .listings import HIDDEN, is_hidden, list_pairs, natural_order, read_lines, say_unused, stem_of
from .mapped_dataset import MappedFewShotDataset
from .mask_files import bright_values
from .names import Names
from .pipelines import build_transforms
from .transforms import LoadBrightAnnotations
from .transforms.loading import BRIGHT

BACKGROUND = 'background'
FSS1000_SIZES = dict(train=520, val=240, test=240)


def bright_histogram(mask: Image.Image) -> np.ndarray:
    """(256,) pixels of each value of an open mask, as :func:`mmfss.datasets.mask_files.bright_values` reads it."""
    return np.bincount(bright_values(mask, 'it').reshape(-1), minlength=256)


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
        threshold (int): Mask values from here on are foreground. Defaults to 128; 1 for masks of 0 and 1. Masks of 1
            bit, and palettes of black and white, count as 0 and 255.
        candidate_area (int): Defaults to 1: there is no area rule.
        img_suffix (str): In any case; '.jpeg' is '.jpg'. Defaults to '.jpg'.
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
        pipeline: Sequence = (),
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
        if not novel_classes:
            raise ValueError(f'No class of {data_root} is novel: `novel_classes`, or the split {eval_split}, is empty.')
        # Base classes come first: their ids do not depend on what is tested.
        self._check_classes(data_root, [*base, *novel_classes])
        super().__init__(
            data_root=data_root,
            novel_classes=list(novel_classes),
            candidate_area=candidate_area,
            metainfo=dict(classes=(BACKGROUND, *base, *novel_classes)),
            img_suffix=img_suffix,
            seg_map_suffix=seg_map_suffix,
            pipeline=[_for_bright_masks(step) for step in build_transforms(pipeline)],
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
                    f'The class {name} is named twice (in the splits, in `novel_classes`, or as `{BACKGROUND}`) for '
                    f'{data_root}. Every class belongs to one split.'
                )
            if os.path.isabs(name) or os.path.normpath(name) != name or name.startswith('.') or '\0' in name:
                raise ValueError(
                    f'The class {name!r} is no folder in {data_root}. Check `novel_classes` or the split files.'
                )
            if not os.path.isdir(os.path.join(data_root, name)):
                raise FileNotFoundError(
                    f'The class {name} has no folder in {data_root}. Check `novel_classes` or the split files.'
                )

    def load_data_list(self) -> list[dict]:
        """Every image of every class, before any filter; what of the folders is not used is told."""
        self._files, classes, unused = {}, [], self._unused_of_root()
        for class_id, name in enumerate(self.class_names[1:], 1):
            folder = os.path.join(self.data_root, name)
            pairs, left = list_pairs(folder, self.img_suffix, self.seg_map_suffix)
            for reason, files in left.items():
                unused.setdefault(reason, []).extend(f'{name}/{file}' for file in files)
            if not pairs:
                print_log(f'The class folder {folder} holds no image *{self.img_suffix}.', 'current', logging.WARNING)
            self._files.update({f'{name}/{image}': paths for image, paths in pairs.items()})
            classes += [class_id] * len(pairs)
        left = say_unused(unused)
        if not self._files:
            raise ValueError(
                f'There is no image (*{self.img_suffix}) in the class folders of {self.data_root}.'
                + (f' They hold {left}.' if left else '')
            )
        print_log(
            f'{self.data_root}: {len(self._files)} images with masks in {len(self.class_names) - 1} classes.'
            + (f' Not used: {left}.' if left else ''),
            'current',
            logging.WARNING if set(unused) - {HIDDEN} else logging.INFO,
        )
        self._names, self._position_class = Names(list(self._files)), np.array(classes)
        return [dict(position=i) for i in range(len(self._names))]

    def _unused_of_root(self) -> dict[str, list[str]]:
        """Pictures that lie beside the class folders instead of in them."""
        suffixes = (self.img_suffix, self.seg_map_suffix)
        names = sorted(os.listdir(self.data_root), key=natural_order)
        loose = [name for name in names if not is_hidden(name) and any(stem_of(name, s) for s in suffixes)]
        return {'outside of the class folders': loose} if loose else {}

    def _paths(self, name: str) -> tuple[str, str]:
        return self._files[name]

    def label_table(self, position: int) -> np.ndarray:
        """Bright pixels are the class of the folder, dark ones background."""
        table = np.zeros(256, dtype=np.int64)
        table[self.threshold :] = self._position_class[position]
        return table

    def describe(self, position: int) -> dict:
        """See :meth:`FewShotSegDataset.describe`; the mask is black and white, not indices."""
        return {**super().describe(position), BRIGHT: True}

    def load_values(self, files: list[Entry]) -> ClassIndex:
        """Count mask values, and say which masks hold no object.

        Raises:
            ValueError: When masks hold 0 and 1 while ``threshold`` is higher.
        """
        index = load_class_index(
            files, data_root=self.data_root, workers=self.index_workers, histogram=bright_histogram
        )
        check_brightness(index, files, self.threshold)
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


def _for_bright_masks(step):
    """MMSegmentation's own loading of labels (stage 1) takes masks as indices."""
    return LoadBrightAnnotations() if type(step) is LoadAnnotations else step


def class_folders(data_root: str) -> list[str]:
    """Names of the folders that are neither hidden nor of the system, sorted."""
    return sorted(f.name for f in os.scandir(data_root) if f.is_dir() and not is_hidden(f.name))


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
    return read_lines(path)
