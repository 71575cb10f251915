# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmfss.registry import METRICS
from mmfss.structures import prediction_key

from ..n_way import BINARY, class_counts, summarise_ways, where_present
from .few_shot_iou_metric import FewShotIoUMetric, _map_of


@METRICS.register_module()
class NWayIoUMetric(FewShotIoUMetric):
    """mIoU over the classes and FB-IoU of episodes of several classes, with the spread over runs.

    Per class, intersection and union are summed over all episodes of a run in which it is one of the W classes; mIoU is
    their mean, FB-IoU the mean of background and of all classes as one. Table and result file are those of
    :class:`FewShotIoUMetric`, with a row for each class of an episode.

    Args:
        present_only (bool): In an episode count a class, and the background, only when it occurs in the query's label:
            false positives of a class that the query does not show cost nothing. PANet's released evaluation does so.
            Defaults to True.
        ignore_index (int): Label of pixels that are not scored. Defaults to 255.
        bootstrap (int): Bootstrap samples of mIoU's confidence interval, of which a sample draws classes of episodes;
            0: none. Defaults to 1000.
        **kwargs: ``out_file``, ``collect_device``, ``prefix`` and ``collect_dir`` of :class:`FewShotIoUMetric`.
    """

    def __init__(self, present_only: bool = True, ignore_index: int = 255, bootstrap: int = 1000, **kwargs) -> None:
        super().__init__(
            outputs=('final',), all_foreground=False, ignore_index=ignore_index, bootstrap=bootstrap, **kwargs
        )
        self.present_only = present_only

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count one batch.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): Query samples as dicts, with ``way_class_ids``, ``gt_sem_seg`` and
                ``pred_sem_seg`` (1, h, w).
        """
        for sample in data_samples:
            missing = [key for key in ('run', 'episode', 'way_class_ids') if key not in sample]
            if missing:
                raise KeyError(
                    f'NWayIoUMetric: a data sample has no {missing}; NWayEpisodicDataset puts them into the '
                    "query's metainfo, a pipeline's packing must keep them"
                )
            label, pred = _map_of(sample, 'gt_sem_seg'), _map_of(sample, prediction_key('final'))
            class_ids = [int(c) for c in sample['way_class_ids']]
            counts = self._counted(class_counts(pred, label, len(class_ids), self.ignore_index))
            together = np.where(label == self.ignore_index, label, label > 0), pred > 0
            binary = self._counted(class_counts(together[1], together[0], 1, self.ignore_index))
            row = {**self._episode(sample), 'class_ids': class_ids, 'counts': {'final': counts[1:]}}
            self.results.append({**row, BINARY: {'final': binary}})

    def _counted(self, counts: np.ndarray) -> np.ndarray:
        return where_present(counts) if self.present_only else counts

    def _summarise(self, rows: list) -> dict:
        return {**summarise_ways(rows, self._meta(), self.bootstrap), 'present_only': self.present_only}
