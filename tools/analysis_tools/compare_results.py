# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Print one Markdown table from several result files.

    python tools/analysis_tools/compare_results.py A/results_balanced.json B/results_balanced.json
    python tools/analysis_tools/compare_results.py work_dirs/X/*/results_balanced*.json

One row a method and output, columns: IoU of each class, mIoU, FB-IoU. Result files of a support
control belong to the file of the same config and checkpoint (or name) without one: they become the
columns "correct - wrong_novel" and "correct - base", the points of mIoU that the model owes to its
supports being right. Files about different episodes are refused: their numbers cannot be compared.
"""

import argparse
import sys

from mmfss.evaluation import read_report
from mmfss.utils.files import atomic_write_text
from mmfss.utils.plain_errors import plain_errors

CONTROL_ROW = 'all-foreground'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('files', nargs='+', help='results_*.json written by tools/test.py')
    parser.add_argument(
        '--names',
        nargs='+',
        help='a method name for each file, in this order (default: its config); '
        'files of one method, with and without a support control, share a name',
    )
    parser.add_argument('--outputs', nargs='+', help='only these outputs, such as: meta final')
    parser.add_argument(
        '--allow-different',
        action='store_true',
        help='print the table even if the files are about different episodes',
    )
    parser.add_argument('--out', help='write the table to this file as well')
    args = parser.parse_args(argv)
    if args.names and len(args.names) != len(args.files):
        parser.error(f'--names needs one name for each of the {len(args.files)} files, got {len(args.names)}')
    return args


def judged(report: dict) -> set[tuple]:
    """What was judged, whatever the supports: (run, episode, class, query)."""
    return {(row['run'], row['episode'], row['class_id'], row['query']) for row in report['episodes']}


def check_same_episodes(reports: list[tuple[str, dict]]) -> None:
    """Refuse reports of different episodes.

    The hash decides. A support control replaces the supports, so against a report with another
    control the queries and their classes decide.

    Raises:
        ValueError: When the files are about different episodes; the message names two that differ.
    """
    path, first = reports[0]
    for other_path, other in reports[1:]:
        if first['support_control'] == other['support_control']:
            same = first['episodes_hash'] == other['episodes_hash'] and first['fold'] == other['fold']
        else:
            same = judged(first) == judged(other)
        if not same:
            raise ValueError(
                f'{path} (protocol {first["protocol"]}, fold {first["fold"]}, hash '
                f'{first["episodes_hash"]}) and '
                f'{other_path} (protocol {other["protocol"]}, fold {other["fold"]}, hash '
                f'{other["episodes_hash"]}) '
                'are about different episodes: their numbers cannot be compared. Test both with the same '
                'protocol, fold, '
                'seeds and data, or pass --allow-different'
            )


def method_key(report: dict, name: str | None) -> tuple:
    """Reports with the same key are one method, with different support controls."""
    return (name,) if name else (report.get('config'), report.get('checkpoint'))


def comparison_table(
    reports: list[tuple[str, dict]],
    names: list[str] | None = None,
    outputs: list[str] | None = None,
) -> str:
    """The Markdown table.

    Args:
        reports (list[tuple]): (path, report) pairs.
        names (list[str], optional): A method name for each.
        outputs (list[str], optional): Outputs to show. Defaults to None: all.
    """
    names = names or [None] * len(reports)
    methods: dict[tuple, dict] = {}
    for (path, report), name in zip(reports, names, strict=True):
        method = methods.setdefault(method_key(report, name), {'label': name or report.get('config') or path})
        control = report['support_control']
        if control in method:
            raise ValueError(
                f'{path} is a second result of {method["label"]} with support control {control}: drop one of the '
                'files or give each its own --names'
            )
        method[control] = report
    controls = list(dict.fromkeys(c for m in methods.values() for c in m if c not in ('label', None)))
    classes = list(dict.fromkeys(entry['name'] for _, report in reports for entry in report['per_class']))
    several = len(methods) > 1

    rows = [['output', *classes, 'mIoU', 'FB-IoU', *(f'correct - {control}' for control in controls)]]
    shown_control_rows = set()
    for method in methods.values():
        report = method.get(None)
        if report is None:  # only a support control was given: show it as a row of its own
            control, report = next((k, v) for k, v in method.items() if k != 'label')
            label = f'{method["label"]} ({control})'
        else:
            label = method['label']
        for output, entry in report['summary'].items():
            if outputs and output not in outputs:
                continue
            if output == CONTROL_ROW:  # the same for every method: it needs the ground truth alone
                if report['episodes_hash'] in shown_control_rows:
                    continue
                shown_control_rows.add(report['episodes_hash'])
            title = f'{label}, {output}' if several and output != CONTROL_ROW else output
            iou = {item['name']: item['IoU'].get(output) for item in report['per_class']}
            row = [
                title,
                *(number(iou.get(name)) for name in classes),
                with_spread(entry, 'mIoU'),
                with_spread(entry, 'FB-IoU'),
            ]
            for control in controls:
                wrong = method.get(control, {}).get('summary', {}).get(output)
                comparable = None in method and wrong is not None and output != CONTROL_ROW
                row.append(f'{entry["mIoU"] - wrong["mIoU"]:+.2f}' if comparable else '-')
            rows.append(row)
    lines = ['| ' + ' | '.join(row) + ' |' for row in rows]
    lines.insert(1, '|---' + '|---:' * (len(rows[0]) - 1) + '|')
    return '\n'.join(lines)


def number(value: float | None) -> str:
    return '-' if value is None else f'{value:.2f}'


def with_spread(entry: dict, key: str) -> str:
    spread = entry.get(f'{key}_std')
    return number(entry[key]) + (f' ± {spread:.2f}' if spread else '')


def caption(reports: list[tuple[str, dict]]) -> str:
    """One line for each set of episodes: what a reader needs to repeat the table."""
    lines = {
        f'Protocol {r["protocol"]}, fold {r["fold"]}, {r["shots"]}-shot, {r["num_runs"]} run(s), '
        f'{r["num_episodes"]} episodes, hash `{r["episodes_hash"]}`.': None
        for _, r in reports
        if r['support_control'] is None or all(o['support_control'] for _, o in reports)
    }
    return '\n'.join(lines)


@plain_errors('compare_results')
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        reports = [(path, read_report(path)) for path in args.files]
        if not args.allow_different:
            check_same_episodes(reports)
        table = comparison_table(reports, args.names, args.outputs)
    except (OSError, ValueError) as error:
        print(f'compare_results.py: {error}', file=sys.stderr)
        return 1
    text = f'{caption(reports)}\n\n{table}\n'
    print(text, end='')
    if args.out:
        atomic_write_text(text, args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
