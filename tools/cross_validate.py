#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""All folds of a config in one go: stage 1, stage 2 and test of each, then the row of the paper's table.

    python tools/cross_validate.py configs/msanet/r50_pascal_1shot.py --gpus 8 --protocols bam balanced
    python tools/cross_validate.py configs/prototype/r50_pascal.py --shots 5      # learns nothing: tests alone

While it works it says on stderr which step of how many is running, and how long the rest takes.
Finished work is reused and interrupted work resumed: the same command can always be repeated. The same weights are
tested under every protocol (`config`: what the config says), with every support control and annotation asked for. The
table is printed and saved as `table.md` and `table.json` in <work-root>/cross_validation/<config>, such as
`msanet/r50_pascal_1shot`, with `--shots K` in .../<config>_Kshot.
"""

import argparse
import copy
import logging
import os
import sys
import time
from collections import deque
from pathlib import Path

from mmengine.config import Config

from mmfss.engine.cross_validation import FoldState, Variant, all_folds, markdown, summary
from mmfss.engine.launch import check_precision, enable_amp
from mmfss.engine.options import merge_options, parse_options, refuse_late
from mmfss.engine.protocol_presets import apply_protocol, protocol_name, read_preset
from mmfss.engine.step_progress import StepProgress
from mmfss.engine.subprocesses import run_logged
from mmfss.engine.weightless import NO_CHECKPOINT, learns
from mmfss.evaluation.report import read_report
from mmfss.utils.checkpoint_files import add_trust_option
from mmfss.utils.configs import config_name, resolve_config
from mmfss.utils.files import atomic_write_json, atomic_write_text, check_writable
from mmfss.utils.plain_errors import plain_errors
from mmfss.utils.precision import add_precision_option
from mmfss.utils.weights import is_missing

_TOOLS = Path(__file__).resolve().parent
_OWN = 'config'  # the protocol that the config names itself


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a stage-2 config')
    parser.add_argument('--folds', type=int, nargs='+', metavar='N', help='folds (default: all of the data set)')
    parser.add_argument('--shots', type=int, metavar='K', help="supports of each episode, instead of the config's")
    parser.add_argument('--gpus', type=int, default=1, help='processes of each training and test (1)')
    parser.add_argument(
        '--protocols',
        nargs='+',
        default=[_OWN],
        metavar='NAME',
        help=f'one or more of docs/protocols.md, such as bam, a file like them, or `{_OWN}` (default)',
    )
    parser.add_argument(
        '--support-control',
        nargs='+',
        choices=['wrong_novel', 'base'],
        default=[],
        help='also test with supports of a wrong class',
    )
    parser.add_argument(
        '--support-annotation',
        nargs='+',
        choices=['mask', 'box', 'scribble', 'point'],
        default=[None],
        help="what supports are annotated with in test (default: the config's)",
    )
    parser.add_argument('--outputs', nargs='+', default=['final', 'meta'], help='rows of the table (final meta)')
    parser.add_argument('--data-root', help="folder of the data set, instead of the config's")
    parser.add_argument('--candidate-area', type=int, metavar='PIXELS', help='as in tools/train.py')
    parser.add_argument('--work-root', default='work_dirs', help='folder that holds all work dirs (work_dirs)')
    parser.add_argument('--amp', action='store_true', help='train with mixed precision')
    add_precision_option(parser)
    add_trust_option(parser)
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='handed to tools/train.py and tools/test.py'
    )
    args = parser.parse_args(argv)
    args.variants = [
        Variant(protocol, annotation, control)
        for protocol in dict.fromkeys(args.protocols)
        for annotation in dict.fromkeys(args.support_annotation)
        for control in (None, *dict.fromkeys(args.support_control))
    ]
    args.name = config_name(args.config) + ('' if args.shots is None else f'_{args.shots}shot')
    for option in ('gpus', 'shots'):
        if (number := getattr(args, option)) is not None and number < 1:
            parser.error(f'--{option} must be at least 1')
    try:
        cfg = Config.fromfile(resolve_config(args.config))
        known = all_folds(cfg)
        args.folds = list(dict.fromkeys(known if args.folds is None else args.folds))
        if gone := [fold for fold in args.folds if fold not in known]:
            raise ValueError(
                f'--folds: there is no fold {", ".join(map(str, gone))}; the data set of {args.config} has '
                f'{known[0]} to {known[-1]}'
            )
        # Before days of training, not after: every protocol can be read and fits, every option is one.
        args.presets = {p: None if p == _OWN else read_preset(p).to_dict() for p in args.protocols}
        options = parse_options(args.cfg_options, parser)
        refuse_late(options)
        for preset in args.presets:
            tested = copy.deepcopy(cfg)
            apply_protocol(tested, None if preset == _OWN else preset, quiet=True)
            merge_options(tested, options)
        if args.amp:
            enable_amp(cfg)
        check_precision(cfg)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    names = [protocol_name(p) for p in args.presets]
    if len(set(names)) < len(names):
        parser.error(f'--protocols: two have the same name: {", ".join(names)}')
    args.learns = learns(cfg)
    return args


class Fold:
    """One fold: its config, its folders, and what of it is done."""

    def __init__(self, number: int, args: argparse.Namespace, out: Path) -> None:
        self.number, self.args, self.out = number, args, out
        given = dict(
            FOLD=number,
            SHOTS=args.shots,
            MMFSS_DATA_ROOT=args.data_root,
            MMFSS_WORK_ROOT=args.work_root,
            MMFSS_CANDIDATE_AREA=args.candidate_area,
        )
        self.variables = {key: str(value) for key, value in given.items() if value is not None}
        os.environ.update(self.variables)  # configs read them
        cfg = Config.fromfile(resolve_config(args.config))
        if cfg.get('fold') != number:
            sys.exit(f'cross_validate: {args.config} has no field fold that --fold sets: see configs/msanet.')
        if args.shots not in (None, cfg.get('shots')):
            sys.exit(
                f'cross_validate: --shots {args.shots} has no effect on {args.config}, whose shots are '
                f'{cfg.get("shots")}: take its 1-shot config, or test the weights with tools/test.py --shots.'
            )
        if cfg.get('work_dir') is None:
            sys.exit(f'cross_validate: {args.config} sets no work_dir, which must hold the fold: see configs/msanet.')
        self.cfg, self.work_dir = cfg, Path(cfg.work_dir)
        self.state = FoldState(out / f'fold{number}.json', cfg, args.cfg_options, args.learns)
        self.progress: StepProgress | None = None

    def steps(self) -> list[str]:
        """What is still to do, in order: 'train', and 'test' for each variant."""
        if self.args.learns and self.state.checkpoint is None:
            trained = self.state.published(self.work_dir) is not None
            return [*([] if trained else ['train']), *['test'] * len(self.args.variants)]
        if self._lacks_base_learner():
            return ['train', *['test'] * len(self.args.variants)]
        return ['test' for variant in self.args.variants if self.known_result(variant)[1] is None]

    def known_result(self, variant: Variant) -> tuple[str, Path | None]:
        """What a variant's result depends on, and the file of its result if that is there."""
        precision = [f'precision={self.args.precision}'] if self.args.precision else []
        made_of = self.state.fingerprint(self.args.presets[variant.protocol], [*self.args.cfg_options, *precision])
        return made_of, self.state.result(variant.key, made_of)

    def train(self) -> None:
        """Both stages, unless the checkpoint is there; of a method that learns nothing its base learner alone."""
        options = ['--resume', *(['--amp'] if self.args.amp else [])]
        if self._lacks_base_learner():
            self.run('train', [self.args.config], options, 'training')
        if not self.args.learns or self.state.checkpoint is not None:
            return
        if (found := self.state.published(self.work_dir)) is not None:
            self.say(f'using {found}, which is there')
        else:
            self.state.begin()
            self.run('train', [self.args.config], options, 'training')
            found = self.state.trained(self.work_dir)
            if found is None:
                sys.exit(f'cross_validate: training ended but left no checkpoint in {self.work_dir}')
        self.state.remember(checkpoint=str(found))

    def _lacks_base_learner(self) -> bool:
        """Whether a method that learns nothing has yet to get its base learner."""
        wanted = None if self.args.learns else self.cfg.get('base_learner')
        return wanted is not None and is_missing(wanted.checkpoint)

    def test(self, variant: Variant) -> dict:
        """The report of a variant; tests unless it is there."""
        made_of, path = self.known_result(variant)
        if path is None:
            folder = self.out / f'fold{self.number}' / variant.key
            options = ['--work-dir', str(folder)]
            if variant.protocol != _OWN:
                options += ['--protocol', variant.protocol]
            if self.args.precision is not None:
                options += ['--precision', self.args.precision]
            if variant.annotation is not None:
                options += ['--support-annotation', variant.annotation]
            if variant.control is not None:
                options += ['--support-control', variant.control]
            start = time.time()
            checkpoint = str(self.state.checkpoint) if self.args.learns else NO_CHECKPOINT
            self.run('test', [self.args.config, checkpoint], options, f'test, {variant.key}')
            found = [p for p in folder.rglob('results_*.json') if p.stat().st_mtime >= start - 2]
            if not found:
                sys.exit(
                    f'cross_validate: the test ended but left no results_*.json in {folder}: the config needs '
                    'ResultFileHook among default_hooks and FewShotIoUMetric as test_evaluator.'
                )
            path = max(found, key=lambda p: p.stat().st_mtime)
            self.state.remember_result(variant.key, made_of, path)
        return {**read_report(path), 'path': str(path)}

    def run(self, tool: str, positional: list[str], options: list[str], step: str) -> None:
        """tools/train.py or tools/test.py, in several processes when asked for."""
        if self.args.gpus > 1:
            command = [str(_TOOLS / f'dist_{tool}.sh'), *positional, str(self.args.gpus)]
        else:
            command = [sys.executable, str(_TOOLS / f'{tool}.py'), *positional]
        command += ['--fold', str(self.number), '--work-root', self.args.work_root, *options]
        for flag in ('shots', 'data_root', 'candidate_area'):
            value = getattr(self.args, flag)
            command += [] if value is None else [f'--{flag.replace("_", "-")}', str(value)]
        if self.args.cfg_options:
            command += ['--cfg-options', *self.args.cfg_options]
        log, tail = self.out / f'fold{self.number}.log', deque(maxlen=25)
        self.say(f'{step} (log: {log})')
        environment = {**os.environ, **self.variables, 'PYTHON': sys.executable, 'PYTHONUNBUFFERED': '1'}
        self.progress.start(tool, f'fold {self.number} {step}')
        try:
            status = run_logged(command, log, environment, tail, self.progress.watch)
        finally:
            self.progress.clear()
        if status:
            sys.exit(
                f'{"".join(tail)}\ncross_validate: fold {self.number}: {step} failed (status {status}); the whole '
                f'log is {log}. Once the cause is fixed, the same command resumes here.'
            )
        self.progress.finish()

    def say(self, message: str) -> None:
        print(f'fold {self.number}: {message}', flush=True)


@plain_errors('cross_validate')
def main(argv: list[str] | None = None) -> None:
    """Run what is missing and print the table."""
    args = parse_args(argv)
    out = Path(args.work_root) / 'cross_validation' / args.name
    reports = {variant: {} for variant in args.variants}
    try:
        check_writable(out)
        out.mkdir(parents=True, exist_ok=True)
        folds = [Fold(number, args, out) for number in args.folds]
        progress = StepProgress([step for fold in folds for step in fold.steps()])
        for fold in folds:
            fold.progress = progress
            fold.train()
            for variant in args.variants:
                reports[variant][fold.number] = fold.test(variant)
        found = summary(args.config, reports, args.outputs)
        table = markdown(found)
        atomic_write_text(table, out / 'table.md')
        atomic_write_json(found, out / 'table.json')
    except KeyboardInterrupt:
        sys.exit('\ncross_validate: interrupted; the same command resumes here.')
    except (OSError, ValueError) as error:
        sys.exit(f'cross_validate: {error}')
    print(f'\n{table}\nSaved as {out / "table.md"} and table.json')


if __name__ == '__main__':
    logging.disable(logging.INFO)  # mmengine tells every environment variable that a config reads
    main()
