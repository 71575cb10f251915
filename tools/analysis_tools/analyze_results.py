#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Draw a result file: IoU of each class, and IoU against the size of the object.

    python tools/analysis_tools/analyze_results.py work_dirs/.../results_bam.json [--out FOLDER] [--outputs final meta]

Writes `<name>_classes.png` and `<name>_size.png` beside the file or into FOLDER, and prints the second as a table.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from prettytable import PrettyTable

from mmfss.evaluation import read_report
from mmfss.evaluation.functional import foreground_iou
from mmfss.utils.plain_errors import plain_errors

# Okabe and Ito's colours, which colour-blind readers tell apart.
COLORS = ('#d55e00', '#0072b2', '#009e73', '#cc79a7', '#e69f00', '#56b4e9')
FLOOR, FLOOR_COLOR = 'all-foreground', '#999999'
EDGES = (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 1.0)  # shares of the image: sizes spread over orders of magnitude


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('file', help='results_*.json written by tools/test.py')
    parser.add_argument('--out', type=Path, help='folder for the pictures (default: beside the file)')
    parser.add_argument('--outputs', nargs='+', help='only these outputs, such as: final meta')
    return parser.parse_args(argv)


def color_of(outputs: list[str]) -> dict[str, str]:
    """A colour for each output."""
    others = [name for name in outputs if name != FLOOR]
    return {FLOOR: FLOOR_COLOR, **{name: COLORS[i % len(COLORS)] for i, name in enumerate(others)}}


def title_of(report: dict) -> str:
    """What was judged, in two lines."""
    weak = report.get('support_annotation') or 'mask'
    extra = [f'supports: {weak}'] if weak != 'mask' else []
    extra += [f'control: {report["support_control"]}'] if report.get('support_control') else []
    first = f'{report.get("config") or "results"}: protocol {report["protocol"]}, fold {report["fold"]}'
    parts = [f'{report["shots"]}-shot', f'{report["num_episodes"]} episodes', *extra]
    return f'{first}\n{", ".join(parts)}, hash {str(report["episodes_hash"])[:12]}'


def draw_classes(report: dict, outputs: list[str]) -> Figure:
    """Bars of the IoU of each class, best class of the first output first, and lines at the mIoU."""
    first = outputs[0]
    entries = sorted(report['per_class'], key=lambda e: -1 if e['IoU'].get(first) is None else e['IoU'][first])
    colors, height = color_of(outputs), 0.8 / len(outputs)
    figure = Figure(figsize=(7, 1.6 + len(entries) * (0.16 + 0.14 * len(outputs))), layout='constrained')
    axes = figure.add_subplot()
    for i, output in enumerate(outputs):
        values = [entry['IoU'].get(output) or 0.0 for entry in entries]
        places = np.arange(len(entries)) + (len(outputs) / 2 - i - 0.5) * height
        miou = report['summary'][output]['mIoU']
        bars = axes.barh(places, values, height * 0.92, color=colors[output], label=f'{output} (mIoU {miou:.1f})')
        if len(entries) * len(outputs) <= 60:
            labels = ['-' if entry['IoU'].get(output) is None else f'{entry["IoU"][output]:.1f}' for entry in entries]
            axes.bar_label(bars, labels, padding=2, fontsize=7, color='#444444')
        axes.axvline(miou, color=colors[output], linewidth=0.8, linestyle='--', zorder=0)
    axes.set_yticks(np.arange(len(entries)), [f'{entry["name"]} ({entry["episodes"]})' for entry in entries])
    axes.set(xlim=(0, 100), xlabel='IoU, percent (episodes of the class in brackets)', ylim=(-0.6, len(entries) - 0.4))
    _finish(axes, report)
    return figure


def size_table(report: dict, outputs: list[str]) -> list[dict]:
    """Episodes grouped by the share of the scored pixels that is foreground.

    Returns:
        list[dict]: ``low``, ``high`` (shares), ``episodes``, and ``IoU``: per output the mean IoU of single episodes
        in percent. Groups without an episode are left out.
    """
    shares, ious = episode_values(report, outputs)
    groups = []
    for low, high in zip(EDGES[:-1], EDGES[1:], strict=True):
        own = (shares > low) & (shares <= high)
        if own.any():
            groups.append(
                dict(
                    low=low,
                    high=high,
                    episodes=int(own.sum()),
                    IoU={name: float(ious[name][own].mean()) for name in outputs},
                )
            )
    return groups


def episode_values(report: dict, outputs: list[str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Foreground share (E,) of every episode, and its IoU in percent (E,) for each output."""
    counts = {name: np.array([row['counts'][name] for row in report['episodes']], dtype=float) for name in outputs}
    truth = counts[outputs[0]]  # (E, 4): tn, fp, fn, tp
    shares = truth[:, 2:].sum(1) / np.maximum(truth.sum(1), 1)
    return shares, {name: foreground_iou(c) * 100 for name, c in counts.items()}


def draw_size(report: dict, outputs: list[str]) -> Figure:
    """IoU of single episodes over the foreground share: points of the first output, means of all."""
    shares, ious = episode_values(report, outputs)
    colors, groups = color_of(outputs), size_table(report, outputs)
    figure = Figure(figsize=(7, 4.6), layout='constrained')
    axes = figure.add_subplot()
    axes.plot(shares * 100, ious[outputs[0]], '.', markersize=3, alpha=0.25, color=colors[outputs[0]], zorder=1)
    # The first group begins at 0, which a logarithmic axis cannot show.
    middles = [100 * np.sqrt(max(group['low'], EDGES[1] / 4) * group['high']) for group in groups]
    for output in outputs:
        axes.plot(
            middles,
            [group['IoU'][output] for group in groups],
            'o-',
            markersize=5,
            color=colors[output],
            label=f'{output}, mean of a group',
            zorder=3,
        )
    for edge in EDGES[1:-1]:
        axes.axvline(edge * 100, color='#dddddd', linewidth=0.6, zorder=0)
    left = 0.8 * min(100 * shares.min(), middles[0])
    axes.set(
        xscale='log',
        xlim=(max(left, 0.01), 105),
        ylim=(0, 102),
        ylabel='IoU of an episode, percent',
        xlabel=f'foreground, percent of the image (one point an episode: {outputs[0]})',
    )
    axes.xaxis.set_major_formatter(lambda value, _: f'{value:g}')
    _finish(axes, report)
    return figure


def _finish(axes, report: dict) -> None:
    axes.set_title(title_of(report), fontsize=9, loc='left')
    axes.figure.legend(fontsize=8, frameon=False, loc='outside lower center', ncols=3)
    axes.spines[['top', 'right']].set_visible(False)
    axes.tick_params(labelsize=8)


def save(figure: Figure, path: Path) -> None:
    """Write a figure without a display."""
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=130)
    print(path)


@plain_errors('analyze_results')
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        report = read_report(args.file)
        if not report['episodes']:
            raise ValueError(f'{args.file} holds no episodes: there is nothing to analyse')
        measured = list(report['summary'])
        outputs = args.outputs or measured
        if unknown := [name for name in outputs if name not in measured]:
            raise ValueError(f'{args.file} has no output {", ".join(unknown)}; it has {", ".join(measured)}')
        folder = args.out or Path(args.file).parent
        folder.mkdir(parents=True, exist_ok=True)
        stem = Path(args.file).stem
        save(draw_classes(report, outputs), folder / f'{stem}_classes.png')
        save(draw_size(report, outputs), folder / f'{stem}_size.png')
    except (OSError, ValueError) as error:
        print(f'analyze_results.py: {error}', file=sys.stderr)
        return 1
    table = PrettyTable(['foreground', 'episodes', *outputs])
    for group in size_table(report, outputs):
        table.add_row(
            [
                f'{group["low"]:.0%} to {group["high"]:.0%}',
                group['episodes'],
                *(f'{group["IoU"][name]:.1f}' for name in outputs),
            ]
        )
    print(f'Mean IoU of single episodes by size:\n{table}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
