# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A long campaign of the fuzz tests: `make fuzz`, or by hand

    FUZZ_MINUTES=600 python tests/test_fuzz/campaign.py [KIND ...]

The kinds (images, masks, annotations, lists, results, checkpoints, options) share the minutes. Each has a process of
its own, so that one which a decoder takes down, or which never ends, is a finding too. Ctrl-C ends it with what was
found so far. A finding is printed with the smallest case that shows it, and is tried first in the next campaign.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
KINDS = ('images', 'masks', 'annotations', 'lists', 'results', 'checkpoints', 'options')
HANGS_AFTER = 600  # seconds over its time; a finding is made small in this time


def campaign(kind: str, minutes: float) -> tuple[int, int | str, bool]:
    """Cases that were tried, findings (tests that failed, or how the process ended), and whether it was interrupted."""
    with tempfile.TemporaryDirectory() as place:
        report = Path(place, 'report.json')
        environment = {**os.environ, 'FUZZ_MINUTES': str(minutes), 'FUZZ_REPORT': str(report)}
        command = [
            sys.executable,
            '-m',
            'pytest',
            '-q',
            '--no-header',
            '--tb=short',
            str(HERE / f'test_fuzz_{kind}.py'),
        ]
        process, stopped = subprocess.Popen(command, env=environment), False
        try:
            status = process.wait(minutes * 60 + HANGS_AFTER)
        except subprocess.TimeoutExpired:
            process.kill()
            return 0, 'it hung', False
        except KeyboardInterrupt:  # pytest got it as well and sums up
            status, stopped = process.wait(), True
        if not report.is_file():
            print(Path(f'{report}.stack').read_text())
            print(f'The files of the case are in the newest folder {tempfile.gettempdir()}/fuzz*.')
            return 0, f'its process ended with status {status}', stopped
        found = json.loads(report.read_text())
        return found['cases'], found['failed'], stopped


def main(kinds: list[str]) -> int:
    """Run all kinds; 1 when something was found."""
    if unknown := set(kinds) - set(KINDS):
        sys.exit(f'campaign: there is no kind {", ".join(sorted(unknown))}; there are {", ".join(KINDS)}')
    try:
        minutes = float(os.environ.get('FUZZ_MINUTES') or 60)
    except ValueError:
        sys.exit(f'campaign: FUZZ_MINUTES is {os.environ["FUZZ_MINUTES"]!r}; give a number of minutes')
    kinds, rows, start = kinds or list(KINDS), [], time.monotonic()
    for number, kind in enumerate(kinds):
        print(f'{kind}: {minutes / len(kinds):.1f} min, then {len(kinds) - number - 1} kinds more', flush=True)
        began = time.monotonic()
        cases, found, stopped = campaign(kind, minutes / len(kinds))
        rows.append((kind, cases, (time.monotonic() - began) / 60, found))
        if stopped:
            break
    print(f'\n{"kind":12} {"cases":>10} {"minutes":>8}  findings')
    for kind, cases, took, found in rows:
        print(f'{kind:12} {cases:10,} {took:8.1f}  {found}')
    print(f'{sum(row[1] for row in rows):,} cases in {(time.monotonic() - start) / 3600:.2f} h')
    return int(any(row[3] for row in rows))


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
