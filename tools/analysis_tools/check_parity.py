#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Compare every method of mmfss with its authors' code and print the deviations as a Markdown table.

    check_parity.py                               the cases of tests/data/golden
    check_parity.py --golden DIR --methods bam    BAM's cases of another folder
    check_parity.py --golden DIR --out docs/parity.md

A case is [METHOD_]BACKBONE_DATA_Kshot[_anything].npz (inputs and reference outputs; names without a method are
MSANet's), beside it .shapes.json (keys and shapes of the released weights, which are rebuilt from their names by
the folder's reference_weights_METHOD.py or reference_weights.py) and, where gradients are compared, .grads.json (their
norms). The weights are converted as a released checkpoint is, and loaded into the model of the matching config. Exit
status 1 when a deviation exceeds its tolerance or a case cannot be compared.
"""

import argparse
import subprocess
import sys
import time
from math import inf
from pathlib import Path

from mmfss.conversion import METHODS
from mmfss.conversion.parity import Case, compare, find_cases
from mmfss.utils.plain_errors import plain_errors

REPOSITORY = Path(__file__).resolve().parents[2]
KINDS = dict(output='outputs', loss='losses', gradient='gradients')
HEADER = ('case', *KINDS.values())
BEGIN, END = '<!-- check_parity begins -->', '<!-- check_parity ends -->'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--golden',
        type=Path,
        default=REPOSITORY / 'tests' / 'data' / 'golden',
        metavar='DIR',
        help='folder of cases (default: tests/data/golden)',
    )
    parser.add_argument('--methods', nargs='+', metavar='NAME', help=f'of {", ".join(sorted(METHODS))} (default: all)')
    parser.add_argument('--details', action='store_true', help='print every value, not only the largest deviations')
    parser.add_argument(
        '--out', type=Path, metavar='PAGE', help=f'put the table into this page, between {BEGIN} and {END}'
    )
    parser.add_argument('--machine', default='CPU', help='what the page says it was run on')
    args = parser.parse_args(argv)
    if unknown := set(args.methods or ()) - METHODS.keys():
        parser.error(f'--methods: there is no {", ".join(sorted(unknown))}; there are {", ".join(sorted(METHODS))}')
    args.cases, args.others = find_cases(args.golden, args.methods)
    if args.out and (
        not args.out.is_file() or not 0 <= args.out.read_text().find(BEGIN) < args.out.read_text().find(END)
    ):
        parser.error(f'--out {args.out}: a page with the lines {BEGIN} and {END}, such as docs/parity.md')
    if not args.cases:
        parser.error(f"no case in '{args.golden}': expected [METHOD_]BACKBONE_DATA_Kshot.npz and .shapes.json")
    return args


def summary(count: int, name: str, value: float, tolerance: float) -> str:
    """How many values were compared, and the one that comes closest to its tolerance."""
    return f'{count}: {value:.1e} `{name}` (< {tolerance:.0e})'


def check(case: Case, details: bool) -> tuple[list[str], list[str]]:
    """The row of a case, and what is wrong with it."""
    tolerance = METHODS[case.method].tolerance
    try:
        found = compare(case)
    except Exception as error:  # the other cases are compared all the same
        message = ' '.join(f'{type(error).__name__}: {error}'.split())
        return [f'`{case.name}`', f'**not compared**: {message}', '', ''], [f'{case.name}: {message}']
    row = [f'`{case.name}`']
    for kind in KINDS:
        values = {name: value for name, value in found.items() if name.startswith(f'{kind}/')}
        name = max(values, key=lambda n: inf if values[n] != values[n] else values[n] / tolerance(n), default=None)
        row.append('' if name is None else summary(len(values), name.split('/')[1], values[name], tolerance(name)))
    if details:
        print('\n'.join(f'  {name}: {value:.1e}' for name, value in found.items()), file=sys.stderr)
    far = {name: value for name, value in found.items() if not value <= tolerance(name)}
    return row, [f'{case.name}: {name} {value:.1e}' for name, value in far.items()]


def markdown(rows: list[list[str]]) -> str:
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in [HEADER, ['---'] * len(HEADER), *rows])


def commit() -> str:
    """Short name of the commit that is checked out."""
    result = subprocess.run(['git', 'rev-parse', '--short', 'HEAD'], cwd=REPOSITORY, capture_output=True, text=True)
    return result.stdout.strip() or 'unknown'


@plain_errors('check_parity')
def main(argv: list[str] | None = None) -> int:
    """Compare all cases; 1 when one is off."""
    args = parse_args(argv)
    rows, problems = [], []
    for number, case in enumerate(args.cases, 1):
        start = time.monotonic()
        row, wrong = check(case, args.details)
        rows.append(row)
        problems += wrong
        state = 'off' if wrong else 'equal'
        took = time.monotonic() - start
        print(f'{number}/{len(args.cases)} {case.name}: {state} ({took:.0f} s)', file=sys.stderr, flush=True)
    table = markdown(rows)
    print(table)
    if args.others and not args.methods:
        print(f'left out, of no method that mmfss has: {", ".join(args.others)}', file=sys.stderr)
    if args.out:
        given = map(str, sys.argv[1:] if argv is None else argv)
        shown = ['DIR' if word == str(args.golden) else word for word in given]
        shown = [word for word in shown if word not in ('--out', str(args.out), '--machine', args.machine)]
        command = ' '.join(['python tools/analysis_tools/check_parity.py', *shown])
        before, _, rest = args.out.read_text().partition(BEGIN)
        block = f'    {command}\n\nCommit {commit()}, {args.machine}.\n\n{table}\n'
        args.out.write_text(f'{before}{BEGIN}\n\n{block}\n{END}{rest.partition(END)[2]}')
    if problems:
        print('beyond the tolerance: ' + '; '.join(problems), file=sys.stderr)
    return int(bool(problems))


if __name__ == '__main__':
    sys.exit(main())
