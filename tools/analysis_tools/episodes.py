#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Write an episode list, check one against the data, print its hash and how often each class is asked for.

    python tools/analysis_tools/episodes.py CONFIG --fold 0 --protocol bam --out lists/bam_fold0.jsonl
    python tools/analysis_tools/episodes.py CONFIG --fold 0 --episodes-file lists/bam_fold0.jsonl  # does it fit?
    python tools/analysis_tools/episodes.py lists/bam_fold0.jsonl  # what is in it?

A list names images, not paths: made on one copy of the data, it works on another. To judge a model by it:
`python tools/test.py CONFIG CHECKPOINT --episodes-file lists/bam_fold0.jsonl`.
"""

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import MMLogger
from prettytable import PrettyTable

from mmfss.datasets import (
    Episode,
    EpisodicDataset,
    NWayEpisodicDataset,
    episodes_hash,
    read_episodes,
    write_episodes,
)
from mmfss.engine.cli import add_run_options, add_shots_option, load_config
from mmfss.registry import DATASETS
from mmfss.utils.plain_errors import plain_errors


def parse_args(argv: list[str] | None = None) -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', metavar='CONFIG|LIST', help='a stage-2 config, or an episode list (.jsonl)')
    parser.add_argument('--protocol', metavar='NAME', help='one of docs/protocols.md, such as bam, or a file like them')
    parser.add_argument('--split', choices=['val', 'test'], default='test', help='which dataloader (default: test)')
    parser.add_argument('--episodes-file', metavar='FILE', help='check this list against the data of the config')
    parser.add_argument('--out', metavar='FILE', help='write the list to this file (JSON lines)')
    add_shots_option(parser)
    add_run_options(parser)
    args = parser.parse_args(argv)
    if args.config.endswith('.jsonl') and (args.out or args.protocol or args.episodes_file):
        parser.error('a list is only shown: --out, --protocol and --episodes-file go with a config')
    if args.protocol and args.split == 'val':
        parser.error('--protocol is about the test data: leave --split val out')
    return args, parser


def build_dataset(args: argparse.Namespace, parser: argparse.ArgumentParser) -> EpisodicDataset:
    """The episodes of the config's validation or test data."""
    cfg = load_config(args, parser)
    dataset = cfg.get(f'{args.split}_dataloader', {}).get('dataset', {})
    if args.episodes_file:
        dataset.episodes_file = args.episodes_file
    dataset = DATASETS.build(dataset) if dataset else None
    if not isinstance(dataset, EpisodicDataset) or dataset.training:
        parser.error(f'{args.config}: {args.split}_dataloader.dataset is no EpisodicDataset with fixed episodes')
    if isinstance(dataset, NWayEpisodicDataset):
        parser.error(f'{args.config}: its episodes have several classes; lists and tables are for one')
    return dataset


def class_table(episodes: Sequence[Episode], classes: Sequence[str], candidates: dict[str, int] | None = None) -> str:
    """How often each class is asked for.

    Args:
        episodes (Sequence[Episode]): All runs.
        classes (Sequence[str]): Names of the evaluated classes; one that is never drawn has a row too.
        candidates (dict, optional): Candidate images of each class.
    """
    table = PrettyTable(
        [
            'class',
            *(['candidates'] if candidates else []),
            'episodes',
            'in each run',
            'share',
            'different queries',
            'different supports',
        ]
    )
    table.align = 'r'
    table.align['class'] = 'l'
    runs = sorted({e.run for e in episodes})
    for name in classes:
        own = [e for e in episodes if e.class_name == name]
        counts = Counter(e.run for e in own)
        low, high = min(counts[run] for run in runs), max(counts[run] for run in runs)
        table.add_row(
            [
                name,
                *([candidates[name]] if candidates else []),
                len(own),
                str(low) if low == high else f'{low} to {high}',
                f'{len(own) / len(episodes):.1%}',
                len({e.query for e in own}),
                len({s for e in own for s in e.supports}),
            ]
        )
    return table.get_string()


def describe(episodes: Sequence[Episode], header: dict, candidates: dict[str, int] | None = None) -> str:
    """Head line, table and hash."""
    classes = header.get('eval_classes') or sorted({e.class_name for e in episodes})
    runs = len({e.run for e in episodes})
    where = f'{header.get("dataset", "unknown data")}, fold {header.get("fold")}, {header.get("shots")}-shot'
    lines = [
        f'protocol {header.get("protocol")}, seed {header.get("seed")}: {where}, {runs} run(s), '
        f'{len(episodes)} episodes',
        class_table(episodes, classes, candidates),
    ]
    drawn = {e.class_name for e in episodes}
    if never := [name for name in classes if name not in drawn]:
        fate = 'counts as IoU 0' if header.get('missing_classes_as_zero') else 'is left out of mIoU and reported'
        lines.append(f'Never drawn: {", ".join(never)} ({"each " if len(never) > 1 else ""}{fate}).')
    return '\n'.join([*lines, f'hash {episodes_hash(episodes)}'])


@plain_errors('episodes')
def main(argv: list[str] | None = None) -> int:
    args, parser = parse_args(argv)
    MMLogger.get_current_instance().setLevel(logging.WARNING)
    try:
        if args.config.endswith('.jsonl'):
            header, episodes = read_episodes(args.config)
            print(describe(episodes, header))
            return 0
        dataset = build_dataset(args, parser)
        dataset.full_init()
        data, header = dataset.dataset, dataset.header
        candidates = {data.class_names[c]: len(data.candidates(c)) for c in data.phase_class_ids}
        print(describe(dataset.episodes, header, candidates))
        if args.out:
            write_episodes(args.out, dataset.episodes, header)
            print(f'written to {Path(args.out)}')
    except (OSError, ValueError) as error:
        print(f'episodes.py: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
