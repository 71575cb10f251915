# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What tools/analysis_tools/folder_benchmark.py reports: rows of classes, means, tables of one or several methods."""

from pathlib import Path

import numpy as np

from .functional import fb_iou, foreground_iou
from .presence import auroc

BELOW = 3.0  # points of IoU under the floor's from which on a class counts as below it


def class_row(name: str, draws: list[dict]) -> dict:
    """What all draws of a class say together; IoU in percent, the mean over the draws."""
    counts = [found['counts'] for found in draws]
    ious = [100 * float(foreground_iou(c[0])) for c in counts]
    total = np.sum([c[0] for c in counts], axis=0)
    row = dict(
        name=name,
        images=draws[0]['images'],
        counts=total.tolist(),
        seconds=sum(found['seconds'] for found in draws),
        IoU=float(np.mean(ious)),
        IoU_of_draws=ious,
        all_foreground=100 * float(total[2:].sum() / max(total.sum(), 1)),
    )
    if len(counts[0]) > 1:
        scores = np.array([pair for found in draws for pair in found['presence']])  # (N, 2): right and wrong supports
        row['wrong_supports_IoU'] = float(np.mean([100 * float(foreground_iou(c[1])) for c in counts]))
        if len(scores):
            row['presence_AUROC'] = auroc(scores.T.ravel(), [True] * len(scores) + [False] * len(scores))
    return row


def summary(rows: list[dict], left_out: list[str]) -> dict:
    """The rows of all classes and their means."""
    images = sum(row['images'] for row in rows)
    by_draw = np.mean([row['IoU_of_draws'] for row in rows], axis=0)  # (D,)
    worst = min(rows, key=lambda row: row['IoU'])
    found = dict(
        mIoU=float(np.mean(by_draw)),
        mIoU_std=float(np.std(by_draw)),
        worst_class=worst['name'],
        worst_IoU=worst['IoU'],
        all_foreground=float(np.mean([row['all_foreground'] for row in rows])),
        **{'FB-IoU': 100 * float(fb_iou(np.sum([row['counts'] for row in rows], axis=0)))},
        images=images,
        images_per_second=len(by_draw) * images / sum(row['seconds'] for row in rows),
        per_class=rows,
        too_few_images=left_out,
    )
    for key, name in (('wrong_supports_IoU', 'wrong_supports_mIoU'), ('presence_AUROC', 'presence_AUROC')):
        if key in rows[0]:
            found[name] = float(np.mean([row[key] for row in rows if key in row]))
    return found


def below_floor(found: dict, floor: dict) -> dict[str, float]:
    """Classes whose IoU is more than 3 points below the floor's, with the difference."""
    floors = {row['name']: row['IoU'] for row in floor['per_class']}
    return {
        row['name']: row['IoU'] - floors[row['name']]
        for row in found['per_class']
        if row['IoU'] < floors[row['name']] - BELOW
    }


def table_row(name: str, values) -> str:
    """A line of a Markdown table."""
    return f'| {name} | ' + ' | '.join(values) + ' |'


def class_table(report: dict) -> str:
    """The first method: classes as rows, numbers of shots as columns."""
    shots = report['shots']
    refined = f', refined by {report["refine"]}' if report['refine'] else ''
    lines = [
        f'{report["data_root"]}, {Path(report["config"]).name}, {report["checkpoint"]}, {report["device"]}{refined}',
        '',
        table_row('IoU, percent', [*(f'{k}-shot' for k in shots), 'all-foreground']),
        '|---|' + '---|' * (len(shots) + 1),
    ]
    by_class = [{entry['name']: entry for entry in found['per_class']} for found in shots.values()]
    for name in dict.fromkeys(name for entries in by_class for name in entries):
        values = [f'{entries[name]["IoU"]:.1f}' if name in entries else '-' for entries in by_class]
        baseline = next(entries[name]['all_foreground'] for entries in by_class if name in entries)
        lines.append(table_row(name, [*values, f'{baseline:.1f}']))
    first = next(iter(shots.values()))
    means = (f'**{found["mIoU"]:.1f}**' for found in shots.values())
    lines += [
        table_row('**mIoU**', [*means, f'{first["all_foreground"]:.1f}']),
        table_row('FB-IoU', [*(f'{found["FB-IoU"]:.1f}' for found in shots.values()), '']),
        table_row('images', [*(str(found['images']) for found in shots.values()), '']),
        table_row('images per second', [*(f'{found["images_per_second"]:.1f}' for found in shots.values()), '']),
    ]
    lines += [
        f'\nLeft out of {k}-shot, which have too few images: {", ".join(found["too_few_images"])}.'
        for k, found in shots.items()
        if found['too_few_images']
    ]
    return '\n'.join(lines) + '\n'


def method_table(report: dict) -> str:
    """All methods beside each other, a line for every method and number of shots."""
    columns = [
        'shots',
        'mIoU',
        'worst class',
        'classes below the floor',
        'wrong supports',
        'presence AUROC',
        'images/s',
    ]
    lines = [f'\n{report["draws"]} draw(s) of supports; ± over draws.\n', table_row('method', columns)]
    lines.append('|---|' + '---|' * len(columns))
    for label, method in report['methods'].items():
        for k, found in method['shots'].items():
            below = found.get('below_floor')
            optional = (
                format(found[key], form) if key in found else ''
                for key, form in (('wrong_supports_mIoU', '.1f'), ('presence_AUROC', '.3f'))
            )
            values = [
                str(k),
                f'{found["mIoU"]:.1f} ± {found["mIoU_std"]:.1f}',
                f'{found["worst_class"]} {found["worst_IoU"]:.1f}',
                '' if below is None else ', '.join([str(len(below)), *(f'{n} {d:.1f}' for n, d in below.items())]),
                *optional,
                f'{found["images_per_second"]:.1f}',
            ]
            lines.append(table_row(label, values))
    return '\n'.join(lines) + '\n'
