# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import logging
import os.path as osp
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmfss.registry import METRICS
from mmfss.structures import prediction_key
from mmfss.utils.files import file_stem

from ..functional import confusion
from ..report import format_report, report_name, summarise, write_report

ALL_FOREGROUND = 'all-foreground'
# pred_base_seg maps base classes: there is nothing binary to score.
_PREDICTION = re.compile(r'pred_(?!sem_)(?!base_)(.+)_seg')


@METRICS.register_module()
class FewShotIoUMetric(BaseMetric):
    """mIoU over the episode classes and FB-IoU, per output, with the spread over runs.

    Per class, intersection and union are summed over all episodes of a run, IoU = I / (U + 1e-10);
    mIoU is their mean over ``eval_class_ids``, FB-IoU the mean of background and foreground IoU
    over all episodes whatever the class. Both are taken for each run and averaged over runs.
    Source: the evaluation of PFENet / BAM / MSANet; see :mod:`mmfss.evaluation.functional`.

    A class never drawn counts 0 where the dataset's ``missing_classes_as_zero`` says so, else it is
    left out and named. Tables go to the log, the whole report (``self.report``) to a JSON file when
    ``out_file`` is set or when :class:`mmfss.engine.ResultFileHook` has told where the log lies.

    Args:
        outputs (Sequence[str], optional): Names of the outputs to score: ``final`` reads
            ``pred_sem_seg``, any other name n reads ``pred_{n}_seg``. None scores every output the
            model gives. Defaults to None.
        all_foreground (bool): Add the row ``all-foreground``, the score of calling every pixel
            foreground, which needs nothing but the ground truth: what a model must beat. Defaults
            to True.
        ignore_index (int): Label of pixels that are not scored. Defaults to 255.
        bootstrap (int): Bootstrap samples of the confidence interval over episodes; 0: none.
            Defaults to 1000.
        out_file (str, optional): Result file to write. Defaults to None.
        collect_device (str): 'cpu' or 'gpu', where the ranks' results are gathered. Defaults to
            'cpu'.
        prefix (str, optional): Prefix of the metric names. Defaults to None: no prefix.
        collect_dir (str, optional): Folder shared by the ranks for gathering. Defaults to None.

    The metric returns Python floats in percent: ``mIoU``, ``mIoU_std``, ``FB-IoU``, ``FB-IoU_std``
    of ``final``, and ``<name>/mIoU`` and so on of every other output. The deviation is that of a
    sample of runs (0 for one run).
    """

    default_prefix = ''  # not None, or BaseMetric warns that the names have no prefix

    def __init__(
        self,
        outputs: Sequence[str] | None = None,
        all_foreground: bool = True,
        ignore_index: int = 255,
        bootstrap: int = 1000,
        out_file: str | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        if isinstance(outputs, str) or (outputs is not None and not outputs):
            raise ValueError(
                "FewShotIoUMetric: outputs must be a list of names such as ['final', 'meta'], or None for every output "
                f'of the model; got {outputs!r}'
            )
        if outputs is not None and 'base' in outputs:
            raise ValueError(
                "FewShotIoUMetric: outputs holds 'base', whose map shows base classes and cannot be scored against a "
                'binary mask; remove it'
            )
        self.outputs = None if outputs is None else tuple(outputs)
        self.all_foreground = all_foreground
        self.ignore_index = ignore_index
        self.bootstrap = bootstrap
        self.out_file = out_file
        self.out_dir: str | None = None  # set by ResultFileHook
        self.context: dict[str, Any] = {}  # likewise: config, checkpoint, ...
        self.report: dict | None = None
        self._size: int | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count one batch.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): Query samples as dicts, with ``gt_sem_seg`` and
                predictions (1, h, w).
        """
        for sample in data_samples:
            missing = [key for key in ('run', 'episode', 'class_id') if key not in sample]
            if missing:
                raise KeyError(
                    f'FewShotIoUMetric: a data sample has no {missing}; EpisodicDataset puts them into the '
                    "query's metainfo, a pipeline's packing must keep them"
                )
            label = _map_of(sample, 'gt_sem_seg')
            counts = {}
            for name in self.outputs or _outputs_of(sample):
                key = prediction_key(name)
                if key not in sample:
                    raise KeyError(
                        f"FewShotIoUMetric: outputs asks for '{name}', but the model gave no {key}; it gave "
                        f'{_outputs_of(sample)}. Remove the name from outputs in the evaluator'
                    )
                counts[name] = confusion(_map_of(sample, key), label, self.ignore_index)
            if self.all_foreground:
                counts[ALL_FOREGROUND] = confusion(np.ones_like(label), label, self.ignore_index)
            self.results.append({**self._episode(sample), 'counts': counts})

    @staticmethod
    def _episode(sample: dict) -> dict:
        """Which episode a query sample is of; names as in the episode list: in folders files may be called alike."""
        path = sample.get('img_path')
        return {
            'run': int(sample['run']),
            'episode': int(sample['episode']),
            'class_id': int(sample['class_id']),
            'query': sample.get('name') or (path and file_stem(path)),
            'supports': list(sample.get('support_names') or map(file_stem, sample.get('support_paths', ()))),
        }

    def evaluate(self, size: int) -> dict:
        """As in BaseMetric; keeps the number of episodes to check that each one arrived."""
        self._size = size
        return super().evaluate(size)

    def compute_metrics(self, results: list) -> dict:
        """Summarise all episodes; runs on the main process only.

        Returns:
            dict[str, float]: See the class.

        Raises:
            ValueError: When there is no episode, or episodes were lost between the ranks.
        """
        rows = self._unique(results)
        rows = self._common_outputs(rows)
        self.report = {**self.context, **self._summarise(rows)}
        print_log('\n' + format_report(self.report), logger='current')
        self._write()
        metrics = {}
        for name, entry in self.report['summary'].items():
            lead = '' if name == 'final' else f'{name}/'
            for key in ('mIoU', 'mIoU_std', 'FB-IoU', 'FB-IoU_std'):
                metrics[lead + key] = entry[key]
        return metrics

    def _summarise(self, rows: list) -> dict:
        return summarise(rows, self._meta(), self.bootstrap)

    def _meta(self) -> dict:
        meta = self.dataset_meta or {}
        missing = [key for key in ('class_names', 'eval_class_ids') if key not in meta]
        if missing:
            raise ValueError(
                f'FewShotIoUMetric: the dataset metainfo has no {missing}; the evaluated dataset must be an '
                'EpisodicDataset (or set metric.dataset_meta yourself)'
            )
        return meta

    def _unique(self, results: list) -> list:
        """Each (run, episode) once, in order: a padded last batch repeats episodes."""
        rows = {(row['run'], row['episode']): row for row in results}
        if not rows:
            raise ValueError('FewShotIoUMetric: not one episode was evaluated: the test dataset is empty')
        if self._size is not None and len(rows) != self._size:
            raise ValueError(
                f'FewShotIoUMetric: {len(rows)} different episodes of {self._size} were counted. Use '
                "sampler=dict(type='RevisitSampler') in the test dataloader, which hands each episode to one process"
            )
        return [rows[key] for key in sorted(rows)]

    def _common_outputs(self, rows: list) -> list:
        """Keep the outputs that every episode has; they can only differ when ``outputs`` is None."""
        names = dict.fromkeys(name for row in rows for name in row['counts'])
        partial = [name for name in names if any(name not in row['counts'] for row in rows)]
        if partial:
            print_log(
                f'FewShotIoUMetric: {", ".join(partial)} is not given for every episode and is left out.',
                logger='current',
                level=logging.WARNING,
            )
        kept = [name for name in names if name not in partial]
        return [{**row, 'counts': {name: row['counts'][name] for name in kept}} for row in rows]

    def _write(self) -> None:
        path = self.out_file
        if path is None and self.out_dir is not None:
            path = osp.join(self.out_dir, report_name(self.report))
        if path is None:
            return
        try:
            write_report(self.report, path)
            print_log(f'Results written to {path}', logger='current')
        except OSError as error:
            # The numbers are in the log already: losing the file must not lose the evaluation.
            print_log(
                f'The result file {path} could not be written ({error}). Free some space or set out_file of '
                'FewShotIoUMetric to a writable place; the tables above hold the results.',
                logger='current',
                level=logging.ERROR,
            )


def _outputs_of(sample: dict) -> list[str]:
    """Names of the binary outputs on a sample: ``final``, ``meta``, then the others by name.

    Data elements list their fields as a set, in another order in every process.
    """
    found = [match.group(1) for key in sample if (match := _PREDICTION.fullmatch(key))]
    return ['final', *sorted(found, key=lambda name: (name != 'meta', name))]


def _map_of(sample: dict, key: str) -> np.ndarray:
    """The (h, w) map of a PixelData entry that was made a dict by the Evaluator."""
    if key not in sample:
        raise KeyError(f'FewShotIoUMetric: a data sample has no {key}')
    data = sample[key]['data']
    data = data.detach().cpu().numpy() if hasattr(data, 'detach') else np.asarray(data)
    return data.reshape(data.shape[-2:])
