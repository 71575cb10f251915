# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""MappedFewShotDataset: masks whose values are not class ids become episodes all the same."""

import numpy as np

from .class_index import ClassIndex, Entry, load_class_index
from .few_shot_dataset import FewShotSegDataset
from .input_checks import IGNORE

MAX_BASE = IGNORE - 1  # base classes that an 8-bit label map can tell apart


class MappedFewShotDataset(FewShotSegDataset):
    """A :class:`FewShotSegDataset` with a table from mask values to class ids.

    Subclasses say how with :meth:`label_table`; there may then be any number of classes. Stage 1 and the base labels of
    stage 2 are 8-bit maps and take up to 254 base classes.
    """

    def label_table(self, position: int) -> np.ndarray:
        """(256,) int64, mask value -> class id, -1 for pixels that are left out (as 255 is)."""
        raise NotImplementedError

    @property
    def base_label_map(self) -> np.ndarray:
        """(max(256, classes),): class id to 1..N_base, novel classes and background to 0."""
        few = len(self.base_class_ids) <= MAX_BASE
        table = np.zeros(max(256, len(self.class_names)), dtype=np.uint8 if few else np.int32)
        table[list(self.base_class_ids)] = np.arange(1, len(self.base_class_ids) + 1)
        return table

    def load_index(self, files: list[Entry]) -> ClassIndex:
        """Count mask values (cached), then turn them into class ids."""
        values = self.load_values(files)
        tables = [self.label_table(i) for i in range(len(files))]
        labels = np.concatenate([table[values.labels_of(i)] for i, table in enumerate(tables)])
        return values.relabelled(labels)

    def load_values(self, files: list[Entry]) -> ClassIndex:
        """Count the values of each mask."""
        return load_class_index(files, data_root=self.data_root, workers=self.index_workers)

    def describe(self, position: int) -> dict:
        """See :meth:`FewShotSegDataset.describe`; adds ``label_table``, and for stage 1 the whole label map."""
        results = super().describe(position)
        table = self.label_table(position)
        results['label_table'] = table
        if self.labels == 'base':
            labels = np.where(table < 0, IGNORE, self.base_label_map[table])
            results['label_map'] = dict(enumerate(labels.tolist()))
        return results

    def _fold_metainfo(self) -> dict:
        if self.labels == 'base' and len(self.base_class_ids) > MAX_BASE:
            raise ValueError(
                f"`labels='base'` takes up to {MAX_BASE} base classes, there are "
                f'{len(self.base_class_ids)}: train a method without a base learner.'
            )
        return super()._fold_metainfo()
