# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The result report: what an evaluation found, as plain Python, as tables, and as a JSON file.

A report holds its context (protocol, episodes hash, fold, shots, ...), ``summary`` (per output:
mean and standard deviation over runs and a bootstrap interval), ``per_class``, ``per_run``,
``pooled`` (all runs counted as one) and ``episodes`` with the four pixel counts ``[tn, fp, fn,
tp]`` of every output. IoUs are percent; None means that the class was never drawn.
"""

import json
import math
from typing import Any

import numpy as np
from prettytable import PrettyTable

from mmfss.utils.files import atomic_write_text

from .functional import bootstrap_interval, class_iou, fb_iou, mean_iou
from .report_shape import wrong_part

CONTEXT_KEYS = (
    'protocol',
    'support_control',
    'support_annotation',
    'episodes_hash',
    'fold',
    'shots',
    'missing_classes_as_zero',
)


def summarise(rows: list[dict], dataset_meta: dict, bootstrap: int = 1000) -> dict:
    """Turn the episodes' counts into a report.

    Args:
        rows (list[dict]): One an episode: ``run``, ``episode``, ``class_id``, ``query`` and
            ``counts``, a dict from output name to (4,) confusion; every row has the same outputs.
        dataset_meta (dict): Metainfo of the EpisodicDataset.
        bootstrap (int): Bootstrap samples; 0 leaves the intervals out. Defaults to 1000.

    Returns:
        dict: The report, JSON-ready.
    """
    classes = tuple(dataset_meta['eval_class_ids'])
    names = [dataset_meta['class_names'][i] for i in classes]
    as_zero = bool(dataset_meta.get('missing_classes_as_zero', False))
    outputs = list(rows[0]['counts'])
    counts = np.array([[row['counts'][name] for row in rows] for name in outputs])  # (M, N, 4)
    class_ids = np.array([row['class_id'] for row in rows])
    runs = np.array([row['run'] for row in rows])
    run_ids = np.unique(runs)
    strangers = sorted(set(class_ids.tolist()) - set(classes))
    if strangers:
        raise ValueError(
            f'episodes of class_id {strangers} were scored, but eval_class_ids of the test dataset is '
            f'{list(classes)}: model, dataset and metric must look at the same fold'
        )

    ious = np.array(
        [[class_iou(c[runs == run], class_ids[runs == run], classes, as_zero) for run in run_ids] for c in counts]
    )  # (M, R, C)
    miou = mean_iou(ious, axis=-1)  # (M, R)
    fb = np.array([[fb_iou(c[runs == run].sum(0)) for run in run_ids] for c in counts])  # (M, R)
    interval = bootstrap_interval(counts, class_ids, runs, classes, as_zero, bootstrap) if bootstrap else None
    pooled = np.array([class_iou(c, class_ids, classes, as_zero) for c in counts])  # (M, C)
    number = {i: int((class_ids == i).sum()) for i in classes}

    report: dict[str, Any] = {'format': 'mmfss-results-1'}
    report.update({key: dataset_meta.get(key) for key in CONTEXT_KEYS})
    report.update(
        missing_classes_as_zero=as_zero,
        num_runs=len(run_ids),
        num_episodes=len(rows),
        missing_classes=[n for i, n in zip(classes, names, strict=True) if number[i] == 0],
        summary={},
        per_class=[],
        per_run=[],
        pooled={},
    )
    for m, output in enumerate(outputs):
        entry = {}
        for position, (key, values) in enumerate((('mIoU', miou[m]), ('FB-IoU', fb[m]))):
            entry[key] = _percent(values.mean())
            entry[f'{key}_std'] = _percent(values.std(ddof=1)) if len(values) > 1 else 0.0
            entry[f'{key}_ci'] = None if interval is None else [_percent(v) for v in interval[m, position]]
        report['summary'][output] = entry
        report['pooled'][output] = {
            'mIoU': _percent(mean_iou(pooled[m])),
            'FB-IoU': _percent(fb_iou(counts[m].sum(0))),
            'class_iou': dict(zip(names, map(_percent, pooled[m]), strict=True)),
        }
    over_runs = mean_iou(ious, axis=1)  # (M, C)
    for c, (class_id, name) in enumerate(zip(classes, names, strict=True)):
        report['per_class'].append(
            {
                'class_id': int(class_id),
                'name': name,
                'episodes': number[class_id],
                'IoU': {output: _percent(over_runs[m, c]) for m, output in enumerate(outputs)},
            }
        )
    for r, run in enumerate(run_ids):
        report['per_run'].append(
            {
                'run': int(run),
                'episodes': int((runs == run).sum()),
                'outputs': {
                    output: {
                        'mIoU': _percent(miou[m, r]),
                        'FB-IoU': _percent(fb[m, r]),
                        'class_iou': dict(zip(names, map(_percent, ious[m, r]), strict=True)),
                    }
                    for m, output in enumerate(outputs)
                },
            }
        )
    report['episodes'] = [
        {**row, 'counts': {name: [int(v) for v in row['counts'][name]] for name in outputs}} for row in rows
    ]
    return report


def _percent(fraction: float) -> float | None:
    return None if math.isnan(fraction) else float(fraction) * 100


def _ways(report: dict) -> str:
    return f'{report["ways"]}-way ' if report.get('ways') else ''


def _show(value: float | None) -> str:
    return '-' if value is None else f'{value:.2f}'


def format_report(report: dict) -> str:
    """The two tables and the lines a reader needs to trust them, as one text for the log."""
    several = report['num_runs'] > 1
    head = (
        f'protocol {report["protocol"]}, fold {report["fold"]}, {_ways(report)}{report["shots"]}-shot, '
        f'{report["num_runs"]} run(s), {report["num_episodes"]} episodes, hash '
        f'{report["episodes_hash"]}'
    )
    if report['support_control']:
        head += f', support control: {report["support_control"]}'
    if (report.get('support_annotation') or 'mask') != 'mask':
        head += f', supports annotated by: {report["support_annotation"]}'

    totals = PrettyTable(['output', 'mIoU', '95% CI', 'FB-IoU', '95% CI '])
    totals.align['output'] = 'l'
    for output, entry in report['summary'].items():
        cells = [output]
        for key in ('mIoU', 'FB-IoU'):
            spread = f' +- {entry[f"{key}_std"]:.2f}' if several else ''
            low_high = entry[f'{key}_ci']
            cells += [
                _show(entry[key]) + spread,
                '-' if low_high is None else f'{_show(low_high[0])} .. {_show(low_high[1])}',
            ]
        totals.add_row(cells)

    single = PrettyTable(['class', 'episodes', *report['summary']])
    single.align['class'] = 'l'
    for entry in report['per_class']:
        single.add_row([entry['name'], entry['episodes'], *(_show(v) for v in entry['IoU'].values())])

    lines = [head, totals.get_string(), single.get_string()]
    if report['missing_classes']:
        fate = (
            'counted as IoU 0, as the protocol says'
            if report['missing_classes_as_zero']
            else 'missing: left out of mIoU'
        )
        lines.append(f'Never drawn: {", ".join(report["missing_classes"])} ({fate}).')
    drawn_once = {entry['name'] for entry in report['per_class'] if entry['episodes']}
    for run in report['per_run']:
        any_output = next(iter(run['outputs'].values()))
        absent = [n for n, iou in any_output['class_iou'].items() if iou is None and n in drawn_once]
        if absent:
            lines.append(f'Run {run["run"]} has no episode of: {", ".join(absent)} (left out of the mIoU of this run).')
    return '\n'.join(lines)


def report_name(report: dict) -> str:
    """File name of a report: ``results_<protocol>[_<W>way][_<support_annotation>][_<support_control>].json``."""
    weak = report.get('support_annotation')
    parts = [
        'results',
        report.get('protocol') or 'custom',
        _ways(report).rstrip().replace('-', ''),
        None if weak == 'mask' else weak,
        report.get('support_control'),
    ]
    return '_'.join(str(part) for part in parts if part) + '.json'


def write_report(report: dict, path: str) -> None:
    """Write a report as JSON, whole or not at all.

    Raises:
        OSError: When the folder cannot be written or the disk is full; no half file is left behind.
    """
    head = {key: value for key, value in report.items() if key != 'episodes'}
    text = json.dumps(head, indent=2, ensure_ascii=False)[:-2]
    # One line an episode: a thousand of them stay readable and greppable.
    rows = ',\n    '.join(json.dumps(row, ensure_ascii=False) for row in report['episodes'])
    atomic_write_text(f'{text},\n  "episodes": [\n    {rows}\n  ]\n}}\n', path)


def read_report(path: str) -> dict:
    """Read a report back.

    Raises:
        ValueError: When the file is not a report of this package.
    """
    try:
        with open(path, encoding='utf-8') as file:
            report = json.load(file)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f'{path} is not JSON ({error}); expected a results_*.json written by tools/test.py') from error
    if not isinstance(report, dict) or not str(report.get('format', '')).startswith('mmfss-results'):
        raise ValueError(f'{path} is not a result file of mmfss: expected a results_*.json written by tools/test.py')
    if (wrong := wrong_part(report)) is not None:
        raise ValueError(f'{path} is no whole result file: {wrong}. Run tools/test.py again, or undo the change')
    return report
