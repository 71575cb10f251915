# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""WrappedFewShotDataset: any mmseg data set becomes episodic by naming base and novel classes."""

import logging
import os
from collections.abc import Sequence

import numpy as np
from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset

from mmfss.registry import DATASETS

from .class_index import ClassIndex, Entry, load_class_index
from .folder import BACKGROUND
from .input_checks import IGNORE
from .listings import OTHER, is_hidden, say_unused, stem_of
from .mapped_dataset import MappedFewShotDataset
from .names import Names


@DATASETS.register_module()
class WrappedFewShotDataset(MappedFewShotDataset):
    """Episodes over the images and masks of a :class:`mmseg.datasets.BaseSegDataset`.

    The source's own rules hold: its lists, suffixes, ``reduce_zero_label``, label map. Where its first class is not
    'background' (ADE20K, Cityscapes), every class can be segmented and the class ids are its labels plus one.
    An image's name is its path below the source's image folder, without suffix.

    Args:
        source (dict | BaseSegDataset): The data set, such as
            ``dict(type='mmseg.ADE20KDataset', data_root='data/ade/ADEChallengeData2016', data_prefix=dict(...))``;
            its pipeline is not used.
        novel_classes (sequence): Names of the classes to test on.
        base_classes (sequence, optional): Names of the classes to train on; all others that are not novel are then
            background. Defaults to all that are not novel.
        **kwargs: See :class:`FewShotSegDataset` (fold, phase, candidate_area ...); lists and folders are the source's.

    Raises:
        TypeError: When ``source`` is no BaseSegDataset.
        ValueError: When a class is unknown or both base and novel, or two images have one name.
    """

    def __init__(
        self,
        *,
        source: dict | BaseSegDataset,
        novel_classes: Sequence[str],
        base_classes: Sequence[str] | None = None,
        **kwargs,
    ) -> None:
        for key in ('data_root', 'ann_file', 'data_prefix', 'metainfo'):
            if kwargs.get(key):
                raise ValueError(f'`{key}` belongs into `source`.')
        if isinstance(source, dict):
            source = DATASETS.build({**source, 'pipeline': []})
        if not isinstance(source, BaseSegDataset):
            raise TypeError(f'`source` must be a BaseSegDataset of mmseg, is {type(source).__name__}.')
        self.source, self._wanted_base = source, base_classes
        classes = tuple(name.strip() for name in source.metainfo['classes'])  # mmseg's ADE20K says 'bed '
        # What the source calls label n has the class id n + shift; 0 is the background.
        self._shift = 0 if classes[0] == BACKGROUND else 1
        palette = source.metainfo.get('palette')
        if self._shift:
            classes, palette = (BACKGROUND, *classes), palette and [[0, 0, 0], *palette]
        super().__init__(novel_classes=novel_classes, metainfo=dict(classes=classes, palette=palette), **kwargs)

    def _set_classes(self, metainfo: dict, novel_classes: Sequence[str]) -> None:
        names = metainfo['classes']
        unknown = [c for c in (*novel_classes, *(self._wanted_base or ())) if c not in names[1:]]
        if unknown:
            raise ValueError(
                f'`novel_classes` or `base_classes` name {unknown}, which {type(self.source).__name__} '
                f'does not have: {names[1:]}.'
            )
        super()._set_classes(metainfo, novel_classes)
        if self._wanted_base is not None:
            base = tuple(sorted(names.index(c) for c in self._wanted_base))
            both = [names[c] for c in base if c in self.novel_class_ids]
            if both or not base:
                raise ValueError(f'`base_classes` must name some classes, none of them novel; {both} are both.')
            self.base_class_ids = base

    def load_data_list(self) -> list[dict]:
        """Every image of the source."""
        folder = self.source.data_prefix.get('img_path') or ''
        infos = [self.source.get_data_info(i) for i in range(len(self.source))]
        missing = [info['img_path'] for info in infos if 'seg_map_path' not in info]
        if missing or not infos:
            raise ValueError(
                f'{type(self.source).__name__} has {len(infos)} images, {len(missing)} without a mask: '
                'name folders of images and masks in `source.data_prefix`.'
            )
        if not self.source.ann_file and os.path.isdir(folder):
            self._tell_unused(folder, {os.path.normpath(info['img_path']) for info in infos})
        names = [os.path.splitext(os.path.relpath(info['img_path'], folder or '.'))[0] for info in infos]
        self._files = dict(zip(names, ((i['img_path'], i['seg_map_path']) for i in infos), strict=True))
        if len(self._files) < len(names):
            raise ValueError(f'{type(self.source).__name__}: two images have one name without suffix in {folder}.')
        self._names = Names(names)
        self._table = self._make_table(infos[0])
        return [dict(position=i) for i in range(len(names))]

    def _tell_unused(self, folder: str, used: set[str]) -> None:
        """Warn of images that the source does not list, since their suffix is of another case."""
        image, mask = self.source.img_suffix, self.source.seg_map_suffix
        files = (os.path.normpath(os.path.join(base, name)) for base, _, names in os.walk(folder) for name in names)
        left = [
            path
            for path in files
            if path not in used
            and not is_hidden(os.path.basename(path))
            and stem_of(os.path.basename(path), image)
            and not path.endswith(mask)
        ]
        if left:
            print_log(
                f'{folder}: {len(used)} images *{image} used; not used: {say_unused({OTHER: sorted(left)})}. Rename '
                'them if they belong to the data.',
                'current',
                logging.WARNING,
            )

    def _make_table(self, info: dict) -> np.ndarray:
        """(256,) mask value -> class id, in the order of mmseg's LoadAnnotations."""
        values = np.arange(256)
        if info.get('reduce_zero_label'):
            values = np.where((values == 0) | (values == IGNORE), IGNORE, values - 1)
        label_map = info.get('label_map') or {}
        values = np.array([label_map.get(int(value), int(value)) for value in values])
        ignored = (values == IGNORE) | (values < 0)
        return np.where(ignored | (values == self.source.ignore_index), -1, values + self._shift)

    def _paths(self, name: str) -> tuple[str, str]:
        return self._files[name]

    def label_table(self, position: int) -> np.ndarray:
        """The same table for all masks; classes that are neither base nor novel are background."""
        return self._table

    def load_index(self, files: list[Entry]) -> ClassIndex:
        """Count class ids; unlike the loop over single tables, at once."""
        values = self.load_values(files)
        return values.relabelled(self._table[values.labels])

    def load_values(self, files: list[Entry]) -> ClassIndex:
        """Count mask values; the index lies beside the source's data."""
        return load_class_index(files, data_root=self.source.data_root, workers=self.index_workers)
