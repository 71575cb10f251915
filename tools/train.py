#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Train a few-shot segmentor: stage 1 (the base learner) when it is missing, then stage 2 if the method has one."""

import argparse
from pathlib import Path

from mmengine.config import Config

from mmfss.engine.cli import add_run_options, add_shots_option, load_config
from mmfss.engine.feature_store_options import check_feature_store
from mmfss.engine.launch import build_runner, check_precision, enable_amp, enable_resume, init_launcher
from mmfss.engine.stages import ensure_base_learner
from mmfss.engine.weightless import NO_CHECKPOINT, learns
from mmfss.utils.files import check_writable
from mmfss.utils.plain_errors import plain_errors
from mmfss.utils.weights import is_missing, read_checkpoint


def make_parser() -> argparse.ArgumentParser:
    """The options of this tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, such as configs/msanet/lite0_pascal_1shot.py')
    parser.add_argument(
        '--resume', action='store_true', help='go on from the latest checkpoint, in whichever stage was interrupted'
    )
    parser.add_argument('--amp', action='store_true', help='train with mixed precision')
    add_shots_option(parser)
    add_run_options(parser)
    return parser


def check_shots(cfg: Config, args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse to train a config with another number of shots than its own, where that is fixed."""
    if args.episode_shots not in (None, cfg.get('shots')):
        parser.error(
            f'--shots {args.episode_shots} has no effect on the training of {args.config}, whose field shots is '
            f'{cfg.get("shots")} whatever the option says (a 5-shot config learns weights of five shots). Train the '
            '1-shot config with --shots; tools/test.py takes --shots with any config.'
        )


@plain_errors('train')
def main() -> None:
    """Train."""
    parser = make_parser()
    args = parser.parse_args()
    cfg = load_config(args, parser)
    check_shots(cfg, args, parser)
    learned = learns(cfg)
    if not learned and cfg.get('base_learner') is None:
        parser.error(
            f'{args.config} has nothing to train; test it: python tools/test.py {args.config} {NO_CHECKPOINT}'
            + ('' if args.fold is None else f' --fold {args.fold}')
        )
    if learned:
        if args.amp:
            enable_amp(cfg)
        check_precision(cfg)
        check_writable(cfg.work_dir)
        check_feature_store(cfg)
    if cfg.get('base_learner') is not None and is_missing(cfg.base_learner.checkpoint):
        check_writable(Path(cfg.base_learner.checkpoint).parent)
    init_launcher(cfg, args.launcher)
    if cfg.get('load_from'):
        if is_missing(cfg.load_from):
            parser.error(
                f'load_from={cfg.load_from} does not exist: train the config that leaves it first (the head of '
                f'{args.config} names it), or set --cfg-options load_from=FILE'
            )
        read_checkpoint(cfg.load_from)  # what is wrong with it is said before stage 1, not after it
    ensure_base_learner(cfg, args.launcher, resume=args.resume, amp=args.amp, last=not learned)
    if not learned:
        return
    if args.resume:
        enable_resume(cfg)
    build_runner(cfg).train()


if __name__ == '__main__':
    main()
