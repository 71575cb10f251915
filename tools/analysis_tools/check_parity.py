# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Compare mmfss with the released MSANet code and print the deviations as Markdown.

    python tools/analysis_tools/check_parity.py                    the cases of tests/data/golden
    python tools/analysis_tools/check_parity.py FOLDER             every case of another folder
    python tools/analysis_tools/check_parity.py --out docs/parity.md

A case is three files, CASE.npz (inputs and reference outputs), CASE.shapes.json (keys and shapes of
the released weights, which are rebuilt from their names) and CASE.grads.json (norms of gradients).
Exit status 1 when a deviation exceeds its tolerance.
"""

import argparse
import os.path as osp
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / 'tests'))

import golden  # noqa: E402  lives beside the tests that use it

from mmfss.utils.plain_errors import plain_errors  # noqa: E402

INTRODUCTION = """\
# Parity with the released code

mmfss computes what the authors' code (AIVResearch/MSANet at ecd5d08) computes, on weights that anyone can rebuild from
the names and shapes of the released `state_dict`, at float32. The table holds the largest deviations: of an output the
largest absolute difference over the standard deviation of the reference, of a loss the relative difference, of the
gradients the largest relative difference of a parameter's norm.

    {command}

Commit {commit}, {machine}. `tests/test_models/test_golden.py` checks the same on every run of the tests.
"""
NOTES = """\
The five parts of the merged feature are, in this order, `query_feat`, `prototype`, `similarity`, `prior` and
`attention`; `adjust_factor` is psi. The gradients are those of `final` and `meta` loss together, with BatchNorm in eval
mode and dropout at 0.

Under autocast the backbone runs in half precision and what follows it, in evaluation, in float32. On these cases
`final` then stays within 1e-2 of the reference on every pixel, and the root mean square error of each output within
1e-2 of its size, for bfloat16 and float16.

Two defaults follow the released code where it slips, and one does not. K-shot weights stay in the order of the sorted
scene differences (`shot_weighting=dict(shots=5, restore_order=True)` gives each shot its own); similarity maps use mask
values, not feature values (`squeezing='paper'`). With more than one shot on VGG16 the released code takes block 4's
similarity maps from the last shot only; mmfss takes the mean over shots, and `last_shot_groups=(2, )` repeats the slip.
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument(
        'folder',
        nargs='?',
        type=Path,
        default=golden.FOLDER,
        help='folder of golden cases (default: tests/data/golden)',
    )
    parser.add_argument('--out', help='write the page, not only the table, to this file')
    parser.add_argument('--machine', default='CPU', help='what the page says it was run on')
    args = parser.parse_args(argv)
    if not list(args.folder.glob('*.shapes.json')):
        parser.error(f"no case in '{args.folder}': expected CASE.npz, CASE.shapes.json and CASE.grads.json")
    return args


def find_cases(folder: Path) -> list[str]:
    """Names of the cases in a folder."""
    return sorted(path.name.removesuffix('.shapes.json') for path in folder.glob('*.shapes.json'))


def make_table(deviations: dict[str, dict[str, float]]) -> str:
    """Markdown of {case: deviations as golden.compare gives them}, one row a quantity, one column a case."""
    rows = [['', 'tolerance', *deviations], ['---'] * (2 + len(deviations))]
    names = list(
        dict.fromkeys(name for case in deviations.values() for name in case if not name.startswith('gradient/'))
    )
    for name in names:
        kind, label = name.split('/')
        values = [f'{case[name]:.1e}' if name in case else '' for case in deviations.values()]
        rows.append([f'`{label}`', f'{golden.TOLERANCES[kind]:.0e}', *values])
    worst = [max((v, k) for k, v in case.items() if k.startswith('gradient/')) for case in deviations.values()]
    counts = [sum(k.startswith('gradient/') for k in case) for case in deviations.values()]
    rows.append(
        [
            'gradients',
            f'{golden.TOLERANCES["gradient"]:.0e}',
            *(f'{v:.1e} (of {n}; `{k.removeprefix("gradient/")}`)' for (v, k), n in zip(worst, counts, strict=True)),
        ]
    )
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in rows)


def commit() -> str:
    """Short name of the commit that is checked out."""
    result = subprocess.run(['git', 'rev-parse', '--short', 'HEAD'], cwd=REPOSITORY, capture_output=True, text=True)
    return result.stdout.strip() or 'unknown'


@plain_errors('check_parity')
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    deviations = {case: golden.compare(case, args.folder) for case in find_cases(args.folder)}
    table = make_table(deviations)
    print(table)
    if args.out:
        command = 'python tools/analysis_tools/check_parity.py'
        if args.folder.resolve() != golden.FOLDER:
            command += f' {osp.relpath(args.folder)}'
        page = [INTRODUCTION.format(command=command, commit=commit(), machine=args.machine), table + '\n', NOTES]
        Path(args.out).write_text('\n'.join(page))
    far = [
        f'{case}: {name} {value:.1e}'
        for case, found in deviations.items()
        for name, value in found.items()
        if not value <= golden.TOLERANCES[name.split('/')[0]]
    ]
    if far:
        print('beyond the tolerance: ' + '; '.join(far), file=sys.stderr)
    return int(bool(far))


if __name__ == '__main__':
    sys.exit(main())
