# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""FewShotSegDataset: an ordinary segmentation data set that knows folds and candidates.

The one place that knows a phase's images and the area rule for candidates of a class; fold_classes.py knows which
classes are novel.
"""

import logging
import os
import warnings
from collections.abc import Sequence

import numpy as np
from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset

from mmfss.registry import DATASETS

from .class_index import UNREADABLE, ClassIndex, Entry, load_class_index
from .fold_classes import FoldClasses
from .image_headers import CorruptFileError, check_file
from .input_checks import IGNORE, check_choice, check_folders, check_masks, read_names, tell_empty
from .listings import find_files
from .names import Names
from .pipelines import build_transforms


@DATASETS.register_module()
class FewShotSegDataset(FoldClasses, BaseSegDataset):
    """Images and index masks of one fold and phase.

    Items are the phase's images, in list order. With a ``pipeline`` it is a plain mmseg data set (stage 1); stage 2's
    :class:`EpisodicDataset` asks for its lists instead.

    Args:
        data_root (str): Root folder of the data.
        ann_file (str): Text file with one image name (without suffix) a line, relative to ``data_root``. Empty: every
            image of the folder, sorted by name.
        data_prefix (dict): Folders ``img_path`` and ``seg_map_path`` below ``data_root``.
        fold (int): Which share of the classes is novel, 0 to ``num_folds`` - 1.
        phase (str): 'train' draws from base classes, 'val' (validation and test) from novel ones.
        labels (str, optional): 'base' makes a data set of background and the base classes in ascending order; 255 stays
            255 (stage 1).
        novel_label (int): With labels='base', what novel classes become: background 0 (BAM, MSANet) or ignored 255
            (RePRI). Defaults to 0.
        candidate_area (int): An image is a candidate of a class that covers at least so many pixels of its mask.
            Defaults to 2048 = 2*32*32 (PFENet, BAM).
        image_filter (str): 'candidates' keeps, in training, images that are a candidate of a base class, and in
            validation those that are a candidate of a novel class. 'none' keeps all (stage 1).
        exclude_novel (bool): Training with 'candidates' leaves out every image in which a novel class occurs, as BAM
            does; False keeps them, as PFENet does.
        novel_classes (sequence, optional): Names or ids of the novel classes, where no benchmark gives the split. None
            of them, ``[]``, trains on all classes.
        index_workers (int, optional): Threads that read masks for the class index.
        pipeline (sequence): Transforms of stage 1.
        test_mode (bool, optional): Whether a corrupt file is an error (True) or a warning and another draw (False).
            Defaults to True in phase 'val'.
        metainfo (dict, optional): ``classes`` (the first is 'background') and ``palette``, unless the class has them.
        **kwargs: Further arguments of :class:`mmseg.datasets.BaseSegDataset`.

    Raises:
        FileNotFoundError: When the data root, the list, an image or a mask is missing.
        ValueError: When there is no such fold, or a mask does not fit its image or the classes.
    """

    list_hint = ''  # where the lists of a benchmark come from, for the error about a missing one

    def __init__(
        self,
        *,
        data_root: str | None = None,
        ann_file: str = '',
        data_prefix: dict | None = None,
        fold: int = 0,
        phase: str = 'train',
        labels: str | None = None,
        novel_label: int = 0,
        candidate_area: int = 2048,
        image_filter: str = 'candidates',
        exclude_novel: bool = True,
        novel_classes: Sequence | None = None,
        index_workers: int | None = None,
        pipeline: Sequence = (),
        test_mode: bool | None = None,
        metainfo: dict | None = None,
        **kwargs,
    ) -> None:
        check_choice('phase', phase, ('train', 'val'))
        check_choice('labels', labels, (None, 'base'))
        check_choice('novel_label', novel_label, (0, IGNORE))
        check_choice('image_filter', image_filter, ('candidates', 'none'))
        if fold not in range(self.num_folds):
            raise ValueError(
                f'`fold` is {fold!r}, but {type(self).__name__} has folds 0 to {self.num_folds - 1}. '
                'Choose one with `--fold N` or the variable FOLD.'
            )
        if candidate_area < 1:
            raise ValueError(f'`candidate_area` is {candidate_area}; it counts pixels, at least 1.')
        if kwargs.get('reduce_zero_label'):
            raise ValueError('`reduce_zero_label` is not possible here: label 0 is the background.')
        self.fold, self.phase, self.labels, self.novel_label = int(fold), phase, labels, int(novel_label)
        self.candidate_area, self.image_filter = candidate_area, image_filter
        self.exclude_novel, self.index_workers = exclude_novel, index_workers
        self._set_classes(metainfo or {}, novel_classes)
        test_mode = phase == 'val' if test_mode is None else test_mode
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            data_prefix=data_prefix or dict(img_path='', seg_map_path=''),
            metainfo={**(metainfo or {}), **self._fold_metainfo()},
            pipeline=build_transforms(pipeline),
            test_mode=test_mode,
            **kwargs,
        )

    @property
    def list_name(self) -> str:
        """Where the images are listed, for messages."""
        return self.ann_file or self.data_prefix['img_path'] or self.data_root or type(self).__name__

    def load_data_list(self) -> list[dict]:
        """Name, image and mask of every entry of the list, before any filter."""
        folders = {key: self.data_prefix[key] for key in ('img_path', 'seg_map_path')}
        check_folders(self.data_root, folders)
        names = read_names(self.ann_file, folders['img_path'], self.img_suffix, self.list_hint)
        names, self._odd_images = find_files(names, folders['img_path'], self.img_suffix)
        if len(set(names)) < len(names):
            twice = next(name for place, name in enumerate(names) if name in names[:place])
            raise ValueError(f'{twice} occurs twice in {self.list_name}, with and without its suffix.')
        _, self._odd_masks = find_files(names, folders['seg_map_path'], self.seg_map_suffix)
        self._names = Names(names)
        return [dict(position=i) for i in range(len(self._names))]

    def filter_data(self) -> list[dict]:
        """Keep the images of this phase (spec: candidate rule), in list order."""
        files = [(name, *self._paths(name)) for name in self._names]
        self._index = self.load_index(files)
        check_masks(self._index, files, len(self.class_names))
        if type(self) is FewShotSegDataset:  # in the benchmarks it is known
            tell_empty(self._index, files)
        keep = self._phase_images() & self._readable()
        if not keep.any():
            raise ValueError(
                f'No image of {self.list_name} is left for fold {self.fold}, phase {self.phase}. An image counts when '
                f'a class of the phase covers `candidate_area` = {self.candidate_area} pixels: smaller images need a '
                'smaller area (`--candidate-area N`).'
            )
        return [info for info in self.data_list if keep[info['position']]]

    def get_data_info(self, idx: int) -> dict:
        """See :meth:`describe`; made when asked for, as every process would carry 120,000 of them else."""
        info = super().get_data_info(idx)
        return {**self.describe(info['position']), **info}

    def load_index(self, files: list[Entry]) -> ClassIndex:
        """Count the pixels of each class id in each mask."""
        return load_class_index(files, data_root=self.data_root, workers=self.index_workers)

    def _readable(self) -> np.ndarray:
        """Which images can be opened, (N,) bool; in test all must be."""
        readable = (self._index.image_sizes != UNREADABLE).all(axis=1)
        if not readable.all():
            first = self._paths(self.name(np.argmin(readable)))[0]
            message = f'{(~readable).sum()} images cannot be opened, the first is {first}: {_why(first)}'
            if self.test_mode:
                raise ValueError(message)
            print_log(f'{message} They are left out.', 'current', logging.WARNING)
        return readable

    def _phase_images(self) -> np.ndarray:
        """Which images of the list the phase uses, (N,) bool."""
        keep = np.full(len(self._index), self.image_filter == 'none')
        if self.image_filter == 'none':
            return keep
        for class_id in self.phase_class_ids:
            keep |= self._index.areas(class_id) >= self.candidate_area
        if self.phase == 'train' and self.exclude_novel:
            for class_id in self.novel_class_ids:
                keep &= self._index.areas(class_id) == 0
        return keep

    def full_init(self) -> None:
        """Read list and index, filter, and build the class -> images lists."""
        if self._fully_initialized:
            return
        super().full_init()
        self._build_candidates()

    def _build_candidates(self) -> None:
        info = super().get_data_info
        self._positions = np.array([info(i)['position'] for i in range(len(self))], dtype=np.int64)
        self._candidates = {}
        for class_id in self.phase_class_ids:
            big = self._index.areas(class_id)[self._positions] >= self.candidate_area
            self._candidates[class_id] = np.flatnonzero(big)
        empty = [self.class_names[c] for c, found in self._candidates.items() if not len(found)]
        if empty and self.image_filter == 'candidates':
            print_log(
                f'{self.phase} images of fold {self.fold}: no image in which {", ".join(empty)} covers '
                f'{self.candidate_area} pixels or more; episodes leave '
                f'{"this class" if len(empty) == 1 else "these classes"} out.',
                'current',
                logging.WARNING,
            )

    def get_subset_(self, indices) -> None:
        """Keep a subset of the images; candidates are then drawn from it alone."""
        super().get_subset_(indices)
        self._build_candidates()

    def get_subset(self, indices) -> 'FewShotSegDataset':
        """A data set of a subset of the images."""
        subset = super().get_subset(indices)
        subset._build_candidates()
        return subset

    def candidates(self, class_id: int) -> np.ndarray:
        """Indices (into this data set, ascending) of the candidates of a class of the phase."""
        self.full_init()
        return self._candidates[class_id]

    def shows(self, class_ids: Sequence[int]) -> np.ndarray:
        """In which images of this data set one of the classes occurs, any area; (length,) bool."""
        shown = np.zeros(len(self._index), dtype=bool)
        shown[self._index.rows[np.isin(self._index.labels, list(class_ids))]] = True
        return shown[self._positions]

    def support_positions(self, class_id: int) -> np.ndarray:
        """Positions in the whole list, ascending, of what an evaluation may draw as supports of a class."""
        return self._positions[self.candidates(class_id)]

    def pool(self, class_id: int, without: int) -> np.ndarray:
        """Supports of a wrong class: positions in the whole list, before filtering.

        Those images in which ``class_id`` covers the candidate area and ``without`` does not occur.
        """
        index = self._index
        fits = (index.areas(class_id) >= self.candidate_area) & (index.areas(without) == 0)
        return np.flatnonzero(fits & (index.image_sizes != UNREADABLE).all(axis=1))

    def position(self, i: int) -> int:
        """Position in the whole list of the i-th image of this data set."""
        return int(self._positions[i])

    def positions_of(self, names: Sequence[str]) -> np.ndarray:
        """Positions in the whole list of image names, -1 for a name that is not in it."""
        place = {name: i for i, name in enumerate(self._names)}
        return np.array([place.get(name, -1) for name in names], dtype=np.int64)

    def name(self, position: int) -> str:
        """Name of an entry of the whole list."""
        return self._names[position]

    def labels_of(self, position: int) -> tuple[int, ...]:
        """Labels that occur in the mask at a position of the whole list (0 and 255 included)."""
        return tuple(self._index.labels_of(position).tolist())

    def class_ids_at(self, position: int) -> tuple[int, ...]:
        """Classes of the phase that occur in the mask at a position of the whole list, any area; ascending."""
        present = set(self.labels_of(position))
        return tuple(c for c in self.phase_class_ids if c in present)

    def describe(self, position: int) -> dict:
        """A fresh results dict of an entry of the whole list.

        Returns:
            dict: Name, position, img_path, seg_map_path, class_ids and the keys that mmseg's loading needs.
        """
        image, mask = self._paths(self.name(position))
        return dict(
            name=self.name(position),
            position=int(position),
            img_path=image,
            seg_map_path=mask,
            seg_fields=[],
            class_ids=self.class_ids_at(position),
            label_map=self.label_map,
            reduce_zero_label=False,
        )

    def _paths(self, name: str) -> tuple[str, str]:
        image, mask = (
            os.path.join(self.data_prefix['img_path'], name + self.img_suffix),
            os.path.join(self.data_prefix['seg_map_path'], name + self.seg_map_suffix),
        )
        return self._odd_images.get(name, image), self._odd_masks.get(name, mask)

    def prepare_data(self, idx: int):
        """Run the pipeline; in training a corrupt file gives a warning and another image is drawn."""
        try:
            return super().prepare_data(idx)
        except CorruptFileError as error:
            if self.test_mode:
                raise
            warnings.warn(f'{error} Another image is drawn.', RuntimeWarning, stacklevel=2)
            return None


def _why(path: str) -> str:
    """Why an image cannot be opened, and what to do."""
    try:
        check_file(path)
    except (ValueError, OSError) as error:
        return str(error)
    return 'fetch or delist it.'
