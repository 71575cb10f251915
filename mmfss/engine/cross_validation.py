# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What ``tools/cross_validate.py`` remembers of each fold, and the table it makes of all."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from mmengine.config import Config

from mmfss.registry import DATASETS
from mmfss.utils.files import atomic_write_json

from .launch import find_last_checkpoint
from .protocol_presets import protocol_name

FORMAT = 'mmfss-cross-validation-1'


@dataclass(frozen=True)
class Variant:
    """One way to test: a protocol, and how the supports are annotated or replaced."""

    protocol: str
    annotation: str | None = None
    control: str | None = None

    @property
    def key(self) -> str:
        """Name of its folder and of its row."""
        parts = (protocol_name(self.protocol), self.annotation, self.control)
        return '_'.join(part for part in parts if part)


class FoldState:
    """What of a fold is done: a small JSON file, written whole or not at all.

    Args:
        path (Path): The file.
        cfg (Config): The fold's config.
        cfg_options (Sequence[str]): ``KEY=VALUE`` texts on top of it.
        learns (bool): Whether there is anything to train. Else there is no checkpoint, results depend on the files that
            the config names, and those of another config are forgotten: they cost no training.

    Raises:
        ValueError: When the file is about a training with another config.
    """

    def __init__(self, path: Path, cfg: Config, cfg_options: Sequence[str], learns: bool = True) -> None:
        self.path, self.learns = path, learns
        self._named = [cfg.get('model', {}), [option.partition('=')[2] for option in cfg_options]]
        trained_by = {key: value for key, value in cfg.to_dict().items() if not key.startswith(('test_', 'val_'))}
        options = [option for option in cfg_options if not option.lstrip('+').startswith('test_')]
        self._made_of = _digest([trained_by, options])
        self._tested_by = {
            key: value for key, value in cfg.to_dict().items() if key.startswith('test_') or key == 'protocol_size'
        }
        self._facts = dict(made_of=self._made_of)
        if path.is_file():
            try:
                facts = json.loads(path.read_text())
                known = facts.get('made_of')
            except (json.JSONDecodeError, AttributeError) as error:
                raise ValueError(
                    f'{path} cannot be read ({error}): remove it, and finished work is searched for again.'
                ) from error
            if known == self._made_of:
                self._facts = facts
            elif learns:
                raise ValueError(
                    f'{path} is about a training with another config or other --cfg-options. Choose '
                    'another --work-root, or remove that file and the work dir to train again.'
                )

    @property
    def checkpoint(self) -> Path | None:
        """The trained weights, while they are there."""
        path = self._facts.get('checkpoint')
        return Path(path) if path and Path(path).is_file() else None

    @staticmethod
    def published(work_dir: Path) -> Path | None:
        """What MetaLearnerCheckpointHook leaves when a training has ended."""
        path = work_dir / 'meta_learner.pth'
        return path if path.is_file() else None

    def trained(self, work_dir: Path) -> Path | None:
        """The weights to test after a training: the published ones, the best, or the last."""
        best = sorted(work_dir.glob('best_*.pth'), key=lambda path: path.stat().st_mtime)
        return self.published(work_dir) or (best[-1] if best else find_last_checkpoint(work_dir))

    def begin(self) -> None:
        """Note the config before the training starts."""
        self.remember()

    def fingerprint(self, preset: dict | None, cfg_options: Sequence[str]) -> str:
        """Of everything that a test result depends on: weights, test data and protocol."""
        weights = []
        for path in [self.checkpoint] if self.learns else sorted(_named_files(self._named)):
            stat = os.stat(path)
            weights += [str(path), stat.st_size, stat.st_mtime_ns]
        return _digest([*weights, preset, self._tested_by, list(cfg_options)])

    def result(self, key: str, made_of: str) -> Path | None:
        """The result file of a variant, unless what it depends on has changed."""
        known = self._facts.get('results', {}).get(key, {})
        path = Path(known.get('path', ''))
        return path if known.get('made_of') == made_of and path.is_file() else None

    def remember_result(self, key: str, made_of: str, path: Path) -> None:
        """Note a finished test."""
        results = {**self._facts.get('results', {}), key: dict(made_of=made_of, path=str(path))}
        self.remember(results=results)

    def remember(self, **facts) -> None:
        """Note what is done, for the next call."""
        self._facts.update(facts)
        atomic_write_json(self._facts, self.path)


def all_folds(cfg: Config) -> range:
    """The folds of the data set that a config tests on.

    Args:
        cfg (Config): Of either stage.

    Raises:
        ValueError: When its test data are of no data set with folds.
    """
    source = (cfg.get('test_dataloader') or {}).get('dataset')
    while isinstance(source, Mapping):
        kind = source.get('type')
        kind = DATASETS.get(kind) if isinstance(kind, str) else kind
        if hasattr(kind, 'num_folds'):
            return range(kind.num_folds)
        source = source.get('dataset')
    raise ValueError(f'{cfg.filename} says nothing about the folds of its test data: name them with --folds.')


def _named_files(value) -> set[str]:
    """The files that a model's config names: pre-trained weights, a base learner."""
    if isinstance(value, Mapping):
        return set().union(*map(_named_files, value.values()))
    if isinstance(value, (list, tuple)):
        return set().union(*map(_named_files, value))
    return {value} if isinstance(value, str) and os.path.isfile(value) else set()


def _digest(value) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=repr).encode()).hexdigest()[:16]


def summary(config: str, reports: Mapping[Variant, Mapping[int, dict]], outputs: Sequence[str]) -> dict:
    """All folds of all variants as one JSON-ready dict.

    Args:
        config (str): What was trained.
        reports (Mapping[Variant, Mapping[int, dict]]): Variant -> fold -> result report, with ``path``.
        outputs (Sequence[str]): Which outputs to take, those that were measured.

    Returns:
        dict: ``variants[key].outputs[name]`` holds ``mIoU`` and ``FB-IoU`` of each fold, their deviations over runs and
        their means over folds, in percent; beside it the episodes' hash, checkpoint and result file of each fold.
    """
    found = dict(format=FORMAT, config=config, variants={})
    for variant, folds in reports.items():
        rows = {}
        for output in outputs:
            entries = {fold: report['summary'][output] for fold, report in folds.items() if output in report['summary']}
            if len(entries) < len(folds):
                continue
            rows[output] = {
                key: {str(fold): entry[key] for fold, entry in entries.items()}
                for key in ('mIoU', 'mIoU_std', 'FB-IoU', 'FB-IoU_std')
            }
            for key in ('mIoU', 'FB-IoU'):
                known = [value for value in rows[output][key].values() if value is not None]
                rows[output][f'{key}_mean'] = mean(known) if len(known) == len(folds) else None
        first = next(iter(folds.values()))
        found['variants'][variant.key] = dict(
            protocol=first['protocol'],
            shots=first['shots'],
            support_annotation=variant.annotation,
            support_control=variant.control,
            folds=list(folds),
            runs=first['num_runs'],
            episodes={str(fold): report['num_episodes'] for fold, report in folds.items()},
            episodes_hash={str(fold): report['episodes_hash'] for fold, report in folds.items()},
            missing_classes={
                str(fold): report['missing_classes'] for fold, report in folds.items() if report.get('missing_classes')
            },
            checkpoint={str(fold): report.get('checkpoint') for fold, report in folds.items()},
            result={str(fold): report.get('path') for fold, report in folds.items()},
            outputs=rows,
        )
    if not any(variant['outputs'] for variant in found['variants'].values()):
        raise ValueError(f'none of the outputs {", ".join(outputs)} was measured; see --outputs')
    return found


def markdown(found: dict) -> str:
    """The row of the paper's table for each variant and output: mIoU of the folds, their mean, FB-IoU."""
    folds = next(iter(found['variants'].values()))['folds']
    head = ['protocol', 'output', *(f'fold {fold}' for fold in folds), 'mean', 'FB-IoU']
    lines = ['| ' + ' | '.join(head) + ' |', '|---|---|' + '---:|' * (len(head) - 2)]
    notes = []
    for key, variant in found['variants'].items():
        label = key if key.split('_')[0] == variant['protocol'] else f'{key} ({variant["protocol"]})'
        for output, row in variant['outputs'].items():
            values = [*(row['mIoU'][str(fold)] for fold in folds), row['mIoU_mean'], row['FB-IoU_mean']]
            shown = ['-' if value is None else f'{value:.2f}' for value in values]
            lines.append('| ' + ' | '.join([label, output, *shown]) + ' |')
        hashes = ', '.join(str(hash_)[:12] for hash_ in variant['episodes_hash'].values())
        number = ', '.join(map(str, dict.fromkeys(variant['episodes'].values())))
        notes.append(
            f'- {label}: {variant["shots"]}-shot, {variant["runs"]} run(s), {number} episodes a fold, hashes {hashes}.'
        )
        for fold, names in variant['missing_classes'].items():
            notes.append(f'  Fold {fold} never draws {", ".join(names)}.')
    title = f'`{found["config"]}`: mIoU in percent on the novel classes of each fold, and FB-IoU, mean over the folds.'
    return '\n'.join([title, '', *lines, '', *notes]) + '\n'
