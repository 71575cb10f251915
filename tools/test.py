#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Test a few-shot segmentor on the novel classes of its fold."""

import argparse

from mmengine.config import Config

from mmfss.engine.cli import add_episode_options, add_run_options, apply_episode_options, load_config
from mmfss.engine.launch import build_runner, init_launcher
from mmfss.engine.model_loading import load_model
from mmfss.engine.weightless import without_checkpoint
from mmfss.utils.files import check_writable
from mmfss.utils.plain_errors import plain_errors
from mmfss.utils.precision import add_precision_option
from mmfss.utils.weights import is_missing


def make_parser() -> argparse.ArgumentParser:
    """The options of this tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file that the model was trained with')
    parser.add_argument('checkpoint', help='checkpoint file, or `none` for a method that learns nothing')
    parser.add_argument('--out', metavar='DIR', help='write the predicted masks there as PNG files')
    parser.add_argument('--show', action='store_true', help='show each episode in a window')
    parser.add_argument('--show-dir', metavar='DIR', help='write a picture of each episode there')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds a window stays')
    add_precision_option(parser)
    add_episode_options(parser)
    add_run_options(parser)
    return parser


def apply_test_options(cfg: Config, args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Put this tool's options into the config."""
    if without_checkpoint(args.checkpoint):
        _check_works_without(cfg, parser)
        cfg.load_from, cfg.resume = None, False
    elif is_missing(args.checkpoint):
        parser.error(f'there is no checkpoint {args.checkpoint}')
    else:
        cfg.load_from = args.checkpoint
    if args.show or args.show_dir:
        hook = cfg.get('default_hooks', {}).get('visualization')
        if hook is None:
            parser.error(
                '--show and --show-dir need default_hooks.visualization in the config, '
                'such as dict(type="EpisodeVisualizationHook")'
            )
        hook.show_dir = args.show_dir
        if args.show:
            hook.update(show=True, wait_time=args.wait_time)
    if args.precision:
        cfg.model.precision = args.precision
    if args.out:
        hook = dict(type='mmfss.PredictionFileHook', out_dir=args.out)
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]
    apply_episode_options(cfg, args)


def _check_works_without(cfg: Config, parser: argparse.ArgumentParser) -> None:
    """Refuse in a line, before any data are read, what cannot be tested without a checkpoint."""
    try:
        load_model(cfg, None, 'cpu')
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))


@plain_errors('test')
def main() -> None:
    """Test."""
    parser = make_parser()
    args = parser.parse_args()
    cfg = load_config(args, parser)
    apply_test_options(cfg, args, parser)
    for folder in filter(None, (cfg.work_dir, args.out, args.show_dir)):
        check_writable(folder)
    init_launcher(cfg, args.launcher)
    build_runner(cfg).test()


if __name__ == '__main__':
    main()
