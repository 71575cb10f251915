#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""From nothing to a table: generate data, train both stages, test on classes never trained on.

Needs no GPU and no download. What an earlier call finished is reused, what it left unfinished goes
on, so after an interruption the same command is right.

    python tools/quickstart.py                    # as `make quickstart`
    python tools/quickstart.py --seeds 0 1 2      # three trainings, mean and deviation
"""

import argparse
import copy
import hashlib
import json
import logging
import os
import re
import statistics
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config
from prettytable import PrettyTable
from tqdm import tqdm

from mmfss.datasets import ShapesDataset
from mmfss.datasets.synthetic import ShapesSpec, generate_shapes
from mmfss.datasets.synthetic.writer import read_identity
from mmfss.engine.launch import find_last_checkpoint
from mmfss.engine.options import merge_options, parse_options, refuse_late
from mmfss.engine.subprocesses import run_logged
from mmfss.evaluation.report import read_report
from mmfss.utils.checkpoint_files import add_trust_option
from mmfss.utils.configs import resolve_config
from mmfss.utils.files import atomic_write_json
from mmfss.utils.plain_errors import plain_errors
from mmfss.utils.workers import WorkerDied

ROWS = ('all-foreground', 'prototype', 'prior', 'meta', 'final')
SHEETS = 12  # test episodes drawn
# Expected seconds on two cores: only their ratio matters, for the remaining time.
SECONDS = dict(data=25, stage1=130, stage2=120, test=45)
_PROGRESS = re.compile(r'(?:Iter|Epoch)\((?:train|test)\)\s+(?:\[(\d+)\])?\[\s*(\d+)/(\d+)\]')
_TOOLS = Path(__file__).resolve().parent


class Seed:
    """One training seed: its folders, its configs, and what of it is done already."""

    def __init__(self, number: int, args: argparse.Namespace) -> None:
        self.number, self.args = number, args
        self.work_root = args.work_root / f'seed{number}'
        self.variables = dict(
            FOLD=str(args.fold), MMFSS_DATA_ROOT=str(args.data_root), MMFSS_WORK_ROOT=str(self.work_root)
        )
        os.environ.update(self.variables)  # configs read them
        self.cfg = Config.fromfile(resolve_config(args.config))
        self.stage1_cfg = Config.fromfile(resolve_config(self.cfg.base_learner.config))
        merge_options(copy.deepcopy(self.cfg), args.options)  # what is no option is said before the data are made
        self.base_learner = Path(self.cfg.base_learner.checkpoint)
        self.work_dir = Path(self.cfg.work_dir)
        self.state_file = self.work_root / f'quickstart_fold{args.fold}.json'
        made_of = [self.cfg.pretty_text, self.stage1_cfg.pretty_text, args.spec.identity(), args.cfg_options]
        digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]
        self.state = self._read_state(digest)

    def _read_state(self, digest: str) -> dict:
        """What is done: ``checkpoint`` after training, ``result`` after the test."""
        fresh = dict(made_of=digest)
        if not self.state_file.is_file():
            return fresh
        state = json.loads(self.state_file.read_text())
        if state.get('made_of') != digest:
            sys.exit(
                f'quickstart: {self.work_root} was made with another config or other data. '
                'Choose another --work-root, or remove that folder to train again.'
            )
        for key in ('checkpoint', 'result'):
            if not Path(state.get(key, '')).is_file():
                return fresh
            fresh[key] = state[key]
        return state

    def remember(self, **facts: str) -> None:
        """Note what is done, for the next call."""
        self.state.update(facts)
        atomic_write_json(self.state, self.state_file)

    def steps(self) -> list[str]:
        """What is still to do, in order."""
        trained = 'checkpoint' in self.state
        stage1 = [] if trained or self.base_learner.is_file() else ['stage1']
        return [*stage1, *([] if trained else ['stage2']), *([] if self.tested else ['test'])]

    @property
    def tested(self) -> bool:
        """Whether the result of the present checkpoint is there."""
        return 'result' in self.state and 'checkpoint' in self.state

    def train(self, tell: Callable[[str, float], None]) -> None:
        """Run tools/train.py, which trains the base learner first when it is missing."""
        self.remember()
        options = [f'randomness.seed={self.number}', f'base_learner.cfg_options.randomness.seed={self.number}']
        stage = 'stage2' if self.base_learner.is_file() else 'stage1'

        def watch(line: str) -> None:
            nonlocal stage
            if 'Stage 1 of 2 is done' in line:
                stage = 'stage2'
            cfg = self.cfg if stage == 'stage2' else self.stage1_cfg
            if (done := fraction(line, cfg.train_cfg.get('max_epochs'))) is not None:
                tell(stage, done)

        self._run([_TOOLS / 'train.py', self.args.config, '--resume'], options, watch)
        best = sorted(self.work_dir.glob('best_*.pth'), key=lambda path: path.stat().st_mtime)
        checkpoint = best[-1] if best else find_last_checkpoint(self.work_dir)
        if checkpoint is None:
            sys.exit(f'quickstart: training ended but left no checkpoint in {self.work_dir}')
        self.remember(checkpoint=str(checkpoint))

    def test(self, tell: Callable[[str, float], None]) -> None:
        """Run tools/test.py with pictures; its result file holds all rows of the table."""
        out = self.work_root / f'test_fold{self.args.fold}'
        options = [f'default_hooks.visualization.max_episodes={SHEETS}']

        def watch(line: str) -> None:
            if (done := fraction(line)) is not None:
                tell('test', done)

        self._run(
            [
                _TOOLS / 'test.py',
                self.args.config,
                self.state['checkpoint'],
                '--work-dir',
                out,
                '--show-dir',
                out / 'figures',
            ],
            options,
            watch,
        )
        results = sorted(out.rglob('results_*.json'), key=lambda path: path.stat().st_mtime)
        if not results:
            sys.exit(f'quickstart: the test ended but left no results_*.json in {out}')
        self.remember(result=str(results[-1]), figures=str(out / 'figures'))

    def _run(self, command: list, options: list[str], watch: Callable[[str], None]) -> None:
        command = [
            sys.executable,
            *map(str, command),
            '--fold',
            str(self.args.fold),
            '--data-root',
            str(self.args.data_root),
            '--work-root',
            str(self.work_root),
            '--cfg-options',
            *options,
            *self.args.cfg_options,
        ]
        log, tail = self.work_root / 'quickstart.log', deque(maxlen=25)
        environment = {**os.environ, **self.variables, 'PYTHONUNBUFFERED': '1'}
        status = run_logged(command, log, environment, tail, watch)
        if status:
            sys.exit(
                f'{"".join(tail)}\nquickstart: {Path(command[1]).name} failed (status '
                f'{status}); the whole log is {log}. Once the cause is fixed, '
                'the same command resumes here.'
            )


def fraction(line: str, max_epochs: int | None = None) -> float | None:
    """How much of a stage a line of mmengine's log says is done, 0..1; None if it says nothing."""
    found = _PROGRESS.search(line)
    if found is None:
        return None
    part, epoch = int(found[2]) / int(found[3]), found[1]
    return part if epoch is None else (int(epoch) - 1 + part) / (max_epochs or int(epoch))


class Progress:
    """One bar with the remaining time over all steps of all seeds."""

    def __init__(self, steps: list[tuple[str, str]]) -> None:
        self.start, total = {}, 0.0
        for step in steps:
            self.start[step] = total
            total += SECONDS[step[1]]
        self.bar = tqdm(
            total=total,
            smoothing=0,
            mininterval=0.5 if sys.stderr.isatty() else 20,
            bar_format='{desc:<14} {percentage:3.0f}% |{bar:30}| {elapsed}<{remaining}',
        )

    def teller(self, seed: str) -> Callable[[str, float], None]:
        """A function (step, share done 0..1) for the steps of one seed."""

        def tell(step: str, done: float) -> None:
            self.bar.set_description_str(f'{seed} {step}'.strip(), refresh=False)
            reached = self.start[seed, step] + min(done, 1.0) * SECONDS[step]
            self.bar.update(max(0.0, reached - self.bar.n))

        return tell


def table(reports: list[dict]) -> str:
    """The result table; mean +- standard deviation when there are several seeds."""
    rows = PrettyTable(['', 'mIoU', 'FB-IoU'])
    rows.align[''] = 'l'
    for row in ROWS:
        entries = [report['summary'][row] for report in reports if row in report['summary']]
        if entries:
            rows.add_row([row, *(_mean([e[key] for e in entries]) for key in ('mIoU', 'FB-IoU'))])
    return rows.get_string()


def _mean(values: list[float]) -> str:
    spread = f' +- {statistics.stdev(values):.1f}' if len(values) > 1 else ''
    return f'{statistics.mean(values):.1f}{spread}'


def typical_figure(figures: Path, miou: float) -> Path | None:
    """The sheet whose IoU is nearest to the mIoU: neither the best nor the worst."""
    rated = [
        (abs(float(found[1]) - miou), path)
        for path in sorted(figures.glob('*.png'))
        if (found := re.search(r'iou([\d.]+)\.png$', path.name))
    ]
    return min(rated)[1] if rated else next(iter(sorted(figures.glob('*.png'))), None)


def parse_args() -> argparse.Namespace:
    """The options of this tool."""
    default = ShapesSpec()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], help='trainings to run (0)')
    parser.add_argument('--fold', type=int, default=0, choices=range(ShapesDataset.num_folds), help='novel classes (0)')
    parser.add_argument('--config', default='configs/quickstart/msanet_shapes_1shot.py')
    parser.add_argument('--data-root', type=Path, default=Path('data/shapes'))
    parser.add_argument('--work-root', type=Path, default=Path('work_dirs/quickstart'))
    parser.add_argument(
        '--images',
        type=int,
        nargs=2,
        default=(default.train, default.val),
        metavar=('TRAIN', 'VAL'),
        help='images to generate (%(default)s)',
    )
    add_trust_option(parser)
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='handed to tools/train.py and tools/test.py'
    )
    args = parser.parse_args()
    args.options = parse_options(args.cfg_options, parser)
    try:
        refuse_late(args.options)
        args.spec = ShapesSpec(train=args.images[0], val=args.images[1])
    except ValueError as error:
        parser.error(str(error))
    return args


@plain_errors('quickstart')
def main() -> None:
    """Run what is missing and print the table."""
    args = parse_args()
    seeds = [Seed(number, args) for number in dict.fromkeys(args.seeds)]
    there = read_identity(args.data_root) == args.spec.identity()
    plan = [] if there else [('', 'data')]
    plan += [(f'seed {seed.number}', step) for seed in seeds for step in seed.steps()]
    progress = Progress(plan)
    try:
        tell = progress.teller('')
        generate_shapes(args.data_root, args.spec, progress=lambda done, total: tell('data', done / total))
        for seed in seeds:
            tell = progress.teller(f'seed {seed.number}')
            if 'checkpoint' not in seed.state:
                seed.train(tell)
            if not seed.tested:
                seed.test(tell)
                tell('test', 1.0)
    except (OSError, WorkerDied) as error:
        sys.exit(f'quickstart: {error}')
    except KeyboardInterrupt:
        sys.exit('\nquickstart: interrupted; the same command resumes here.')
    finally:
        progress.bar.close()
    show_results(seeds)


def show_results(seeds: list[Seed]) -> None:
    """Print the table, what it was measured on, and the path of one figure."""
    reports = [read_report(seed.state['result']) for seed in seeds]
    hashes = sorted({str(report['episodes_hash']) for report in reports})
    if len(hashes) > 1:
        sys.exit(
            f'quickstart: the seeds were tested on different episodes ({", ".join(hashes)}); '
            'remove --work-root to start again'
        )
    first = reports[0]
    novel = ', '.join(entry['name'] for entry in first['per_class'])
    print(
        f'\nClasses never trained on: {novel}.\n{first["shots"]}-shot, {len(seeds)} training(s), '
        f'the same {first["num_episodes"]} episodes for every row (hash {hashes[0][:12]}):\n'
        f'{table(reports)}'
    )
    figure = typical_figure(Path(seeds[0].state['figures']), first['summary']['final']['mIoU'])
    if figure is not None:
        print(f'A typical episode: {figure}')


if __name__ == '__main__':
    logging.disable(logging.INFO)  # mmengine tells every environment variable that a config reads
    main()
