#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Kill a training or a cross-validation at random moments until it has ended all the same, and compare its result.

    python tools/analysis_tools/kill_test.py train configs/quickstart/msanet_shapes_1shot.py --kills 10
    python tools/analysis_tools/kill_test.py cross_validate configs/msanet/lite0_pascal_1shot.py --kills 10 -- --folds 0

It runs the tool once undisturbed. Then it starts it again and again in another work root, each time with SIGKILL after
a random time, with --resume where the tool has it. A run that ends before its SIGKILL is compared, and the next round
begins in an empty folder; the last kill is followed by a run to the end. After each kill every checkpoint and JSON file
is read. Status 1 when a result differs, a file is cut off, or processes stay behind.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from mmfss.utils.checkpoint_files import CheckpointFileError
from mmfss.utils.files import atomic_write_json
from mmfss.utils.plain_errors import StopError, plain_errors
from mmfss.utils.weights import model_state, read_checkpoint

_TOOLS = Path(__file__).resolve().parents[1]
_PUBLISHED = ('base_learner.pth', 'meta_learner.pth')
_LEAVE_WITHIN = 60  # seconds that the other processes of a killed run have


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Options of the tool itself follow behind --, without --work-root and --resume.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('tool', choices=['train', 'cross_validate'])
    parser.add_argument('config', help='a stage-2 config')
    parser.add_argument('--kills', type=int, default=10, help='SIGKILLs in all (10)')
    parser.add_argument('--seed', type=int, default=0, help='of the random moments (0)')
    parser.add_argument(
        '--only-main', action='store_true', help='kill the main process alone; the others must end by themselves'
    )
    parser.add_argument('--out', default='work_dirs/kill_test', help='emptied first (work_dirs/kill_test)')
    argv = sys.argv[1:] if argv is None else argv
    end = argv.index('--') if '--' in argv else len(argv)  # argparse takes `--` for positionals alone
    args = parser.parse_args(argv[:end])
    args.options = argv[end + 1 :]
    return args


class Run:
    """One start of the tool.

    Args:
        args (argparse.Namespace): What to start.
        root (Path): Its work root.
    """

    def __init__(self, args: argparse.Namespace, root: Path) -> None:
        command = [sys.executable, str(_TOOLS / f'{args.tool}.py'), args.config, *args.options]
        command += ['--work-root', str(root), *(['--resume'] if args.tool == 'train' else [])]
        root.mkdir(parents=True, exist_ok=True)
        self.log = root / 'log.txt'
        with open(self.log, 'a') as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def finish(self, seconds: float | None = None) -> bool:
        """Wait so long, None for ever; whether it has ended.

        Raises:
            StopError: When the tool failed.
        """
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        except BaseException:
            self.kill(only_main=False)
            raise
        if status:
            tail = '\n'.join(self.log.read_text(errors='replace').splitlines()[-20:])
            raise StopError(f'{tail}\nthe tool failed with status {status}; its log is {self.log}')
        return True

    def kill(self, only_main: bool) -> float:
        """SIGKILL; the seconds until no process of the run is left.

        Raises:
            StopError: When some are left after a minute; they are killed then.
        """
        start = time.monotonic()
        (os.kill if only_main else os.killpg)(self.process.pid, signal.SIGKILL)
        self.process.wait()
        while _alive(self.process.pid):
            if time.monotonic() - start > _LEAVE_WITHIN:
                os.killpg(self.process.pid, signal.SIGKILL)
                raise StopError(f'processes were left {_LEAVE_WITHIN} s after the main process was killed')
            time.sleep(0.05)
        return time.monotonic() - start


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def cut_files(root: Path) -> list[str]:
    """The checkpoints and JSON files that cannot be read; hidden ones are being written and are of no interest."""
    found = []
    for path in root.rglob('*.pth'):
        try:
            if not path.name.startswith('.'):
                read_checkpoint(path)
        except CheckpointFileError as error:
            found.append(str(error))
    for path in [*root.rglob('results_*.json'), *root.rglob('fold*.json'), *root.rglob('table.json')]:
        try:
            json.loads(path.read_text())
        except ValueError as error:
            found.append(f'{path}: {error}')
    return found


def result(args: argparse.Namespace, root: Path) -> dict:
    """What a finished run is judged by: digests of the published weights, the best scores, the table.

    Raises:
        StopError: When the run has left nothing to compare.
    """
    found = {}
    for path in sorted(path for name in _PUBLISHED for path in root.rglob(name)):
        digest = hashlib.sha256()
        for name, weight in sorted(model_state(read_checkpoint(path)).items()):
            digest.update(name.encode() + weight.contiguous().numpy().tobytes())
        found[str(path.relative_to(root))] = digest.hexdigest()[:16]
    for pointer in sorted(root.rglob('last_checkpoint')):
        hub = read_checkpoint(pointer.read_text())['message_hub']['runtime_info']
        found[f'best score of {pointer.parent.relative_to(root)}'] = hub.get('best_score')
    for table in sorted(root.rglob('table.json')):
        for key, variant in json.loads(table.read_text())['variants'].items():
            found[f'{key} of {table.parent.name}'] = variant['outputs']
    if not found:
        raise StopError(f'there is no published checkpoint and no table in {root}')
    return found


@plain_errors('kill_test')
def main(argv: list[str] | None = None) -> None:
    """Kill and compare."""
    args = parse_args(argv)
    out, rng = Path(args.out), random.Random(args.seed)
    shutil.rmtree(out, ignore_errors=True)
    start = time.monotonic()
    Run(args, out / 'undisturbed').finish()
    whole, expected = time.monotonic() - start, result(args, out / 'undisturbed')
    print(f'undisturbed: {whole:.1f} s, {json.dumps(expected)}', flush=True)
    report = dict(tool=args.tool, config=args.config, seconds=whole, result=expected, kills=[], rounds=[])
    cut, rounds, root = [], 0, out / 'killed_0'
    while len(report['kills']) < args.kills:
        run, moment = Run(args, root), rng.uniform(0, whole)
        if run.finish(moment):
            report['rounds'].append(result(args, root) == expected)
            rounds += 1
            root = out / f'killed_{rounds}'
            continue
        gone = run.kill(args.only_main)
        cut += cut_files(root)
        report['kills'].append(dict(round=rounds, after=round(moment, 2), gone=round(gone, 2)))
        print(
            f'kill {len(report["kills"])}: round {rounds}, after {moment:.1f} s, all gone {gone:.1f} s later',
            flush=True,
        )
    Run(args, root).finish()
    report['rounds'].append(result(args, root) == expected)
    report['cut_files'] = cut
    atomic_write_json(report, out / 'report.json')
    equal = sum(report['rounds'])
    ended = f'{len(report["rounds"])} runs ended, {equal} of them with the same result'
    print(f'{args.kills} kills, {ended}, {len(cut)} files cut off ({out / "report.json"})')
    if cut or equal < len(report['rounds']):
        raise StopError('\n'.join(['results differ or files are cut off', *cut]))


if __name__ == '__main__':
    main()
