# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Which classes of a data set are novel in a fold, and what that makes of its labels: the one place that knows."""

from collections.abc import Sequence

import numpy as np

from .input_checks import IGNORE


class FoldClasses:
    """The classes of a :class:`FewShotSegDataset`, as a part of it.

    A benchmark sets ``METAINFO`` and ``num_folds`` and overrides :meth:`split_classes`.

    Attributes:
        fold (int): 0 to ``num_folds`` - 1.
        phase (str): 'train' or 'val'.
        labels (str | None): 'base' makes label maps of background and the base classes.
        novel_label (int): What novel classes become in those: 0 background, 255 ignored.
        class_names (tuple[str, ...]): All classes, background first.
        novel_class_ids (tuple[int, ...]): Ascending.
        base_class_ids (tuple[int, ...]): Ascending.
    """

    METAINFO: dict = {}
    num_folds = 4
    novel_label = 0

    def _set_names(self, metainfo: dict) -> None:
        self.class_names = tuple(metainfo.get('classes') or self.METAINFO.get('classes', ()))
        if len(self.class_names) < 2 or len(set(self.class_names)) < len(self.class_names):
            raise ValueError(f'`metainfo.classes` needs background and more, each once: {self.class_names}.')
        palette = metainfo.get('palette') or self.METAINFO.get('palette')
        if palette is None:
            palette = np.random.default_rng(42).integers(0, 255, (len(self.class_names), 3)).tolist()
        self.class_palette = [list(color) for color in palette]

    def _set_classes(self, metainfo: dict, novel_classes: Sequence | None) -> None:
        self._set_names(metainfo)
        novel = self.split_classes() if novel_classes is None else novel_classes
        ids = range(1, len(self.class_names))
        novel = {self.class_names.index(c) if c in self.class_names else c for c in novel}
        if not novel and self.phase == 'val':
            raise ValueError('`novel_classes` is empty, and phase `val` tests novel classes: name some.')
        if not novel < set(ids):
            raise ValueError(
                f'`novel_classes` must name some, not all, of the classes {self.class_names[1:]}; it is '
                f'{sorted(map(str, novel))}.'
            )
        self.novel_class_ids = tuple(sorted(novel))
        self.base_class_ids = tuple(c for c in ids if c not in novel)

    def split_classes(self) -> Sequence[int]:
        """Ids of the fold's novel classes; a benchmark overrides this."""
        raise ValueError(f'{type(self).__name__} has no folds of its own: name the novel classes with `novel_classes`.')

    @property
    def phase_class_ids(self) -> tuple[int, ...]:
        """Classes that episodes of this phase are about: base in training, novel in validation."""
        return self.base_class_ids if self.phase == 'train' else self.novel_class_ids

    @property
    def base_label_map(self) -> np.ndarray:
        """(256,) uint8: base classes to 1..N_base, novel ones to ``novel_label``, background to 0, 255 to 255.

        mmseg's own label map sends left-out classes to 255; the base learner of most methods needs them at 0.
        """
        table = np.zeros(256, dtype=np.uint8)
        table[list(self.novel_class_ids)] = self.novel_label
        table[list(self.base_class_ids)] = np.arange(1, len(self.base_class_ids) + 1)
        table[IGNORE] = IGNORE
        return table

    def get_label_map(self, new_classes: Sequence | None = None) -> dict | None:
        """The relabelling that mmseg asks for; only ``labels='base'`` needs it."""
        if self.labels is None:
            return None
        return {old: int(self.base_label_map[old]) for old in range(len(self.class_names))}

    def _fold_metainfo(self) -> dict:
        shown = range(len(self.class_names))
        if self.labels == 'base':
            shown = (0, *self.base_class_ids)
        return dict(
            classes=tuple(self.class_names[c] for c in shown),
            palette=[self.class_palette[c] for c in shown],
            class_names=self.class_names,
            fold=self.fold,
            base_class_ids=self.base_class_ids,
            novel_class_ids=self.novel_class_ids,
        )
