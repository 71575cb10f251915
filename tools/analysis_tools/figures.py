#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The figures of the MSANet paper from any config and checkpoint; episodes are those of tools/test.py.

python tools/analysis_tools/figures.py qualitative CONFIG CHECKPOINT --fold 1 --out figure5.png
python tools/analysis_tools/figures.py similarity  CONFIG CHECKPOINT --fold 1 --out figure6.pdf
python tools/analysis_tools/figures.py failures    CONFIG CHECKPOINT results_bam.json --fold 1 --out figure7.jpg
"""

import argparse
import logging
import sys

from mmengine.logging import MMLogger
from tqdm import tqdm

from mmfss.engine.cli import add_episode_options, add_run_options, apply_episode_options, load_config
from mmfss.engine.model_loading import load_model, load_test_episodes
from mmfss.evaluation import read_report
from mmfss.utils.plain_errors import plain_errors
from mmfss.visualization.figure_grid import check_figure_path, compose_grid, save_figure
from mmfss.visualization.paper_figures import (
    RowMaker,
    check_groups,
    indices_by_number,
    one_of_each_class,
    segment_episode,
    worst_episodes,
)

SAME_IOU = 2.0  # percent: rounding on another machine moves less


def make_parser() -> argparse.ArgumentParser:
    """One command a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='figure', required=True)
    qualitative = commands.add_parser('qualitative', help='Figure 5: support, query and ground truth, meta, final')
    similarity = commands.add_parser('similarity', help='Figure 6: mean similarity map of each block group')
    failures = commands.add_parser('failures', help='Figure 7: the worst episodes of a result file')
    for command in (qualitative, similarity, failures):
        command.add_argument('config', help='config file that the model was trained with')
        command.add_argument('checkpoint', help='checkpoint file, or `none` for a method that learns nothing')
        command.add_argument('--out', required=True, metavar='FILE', help='figure to write: .png, .jpg or .pdf')
        command.add_argument('--height', type=int, default=200, help='height of an image, pixels (200)')
    for command in (qualitative, similarity):
        command.add_argument(
            '--episodes',
            type=int,
            nargs='+',
            metavar='N',
            help='numbers of the episodes (default: the first episode of each class)',
        )
        command.add_argument('--run', type=int, default=0, help='run that the numbers count in (0)')
    for command in (qualitative, failures):
        command.add_argument(
            '--outputs',
            nargs='+',
            metavar='NAME',
            help='outputs to draw, such as prototype meta final (default: meta and final)',
        )
    similarity.add_argument(
        '--groups',
        type=int,
        nargs='+',
        choices=[2, 3, 4],
        help='layers whose blocks are averaged (default: all that the model compares)',
    )
    failures.add_argument('results', help='results_*.json that tools/test.py wrote with this checkpoint')
    failures.add_argument('--num', type=int, default=6, help='episodes (6)')
    failures.add_argument('--of-class', type=int, metavar='N', help='at most so many of a class')
    failures.add_argument('--by', default='final', metavar='NAME', help='output whose IoU decides (final)')
    for command in (qualitative, similarity, failures):
        add_episode_options(command)
        add_run_options(command)
    return parser


def make_rows(args: argparse.Namespace, parser: argparse.ArgumentParser) -> list:
    """The rows of the figure that the options describe."""
    report = read_report(args.results) if args.figure == 'failures' else None  # a wrong file is told at once
    cfg = load_config(args, parser)
    if 'test_dataloader' in cfg:
        apply_episode_options(cfg, args)
    model, meta = load_model(cfg, args.checkpoint)
    groups = check_groups(model.decode_head, args.groups) if args.figure == 'similarity' else None
    dataset = load_test_episodes(cfg, meta)
    maker = RowMaker(dataset.metainfo, args.height)
    expected = {}
    if report is not None:
        expected = worst_episodes(report, dataset, args.num, args.by, args.of_class)
        chosen = list(expected)
    elif args.episodes:
        chosen = indices_by_number(dataset, args.episodes, args.run)
    else:
        chosen = one_of_each_class(dataset, args.run)
    rows = []
    for index in tqdm(chosen, disable=not sys.stderr.isatty()):
        episode = segment_episode(model, dataset, index, groups or ())
        rows.append(maker.similarity(episode) if groups else maker.outcome(episode, args.outputs))
        named = dataset.episodes[index]
        print(
            f'row {len(rows)}: run {named.run}, episode {named.episode}, {named.class_name}: query {named.query}, '
            f'supports {", ".join(named.supports)}, IoU {episode.iou():.1f}'
        )
        if index in expected and abs(expected[index] - episode.iou(args.by)) > SAME_IOU:
            print(
                f'  {args.results} says {expected[index]:.1f} for {args.by}, this model gives '
                f'{episode.iou(args.by):.1f}: was the file written with another checkpoint?',
                file=sys.stderr,
            )
    return rows


@plain_errors('figures')
def main(argv: list[str] | None = None) -> int:
    """Draw a figure."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.height < 50 or getattr(args, 'num', 1) < 1:
        parser.error('--height must be at least 50, --num at least 1')
    MMLogger.get_current_instance().setLevel(logging.WARNING)
    try:
        check_figure_path(args.out)
        save_figure(compose_grid(make_rows(args, parser), args.height), args.out)
    except (OSError, ValueError) as error:
        print(f'figures.py: {error}', file=sys.stderr)
        return 1
    print(args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
