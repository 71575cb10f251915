#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Write contact sheets of a config's episodes: training ones after augmentation, test ones as they are judged.

    python tools/analysis_tools/browse_episodes.py configs/msanet/r50_pascal_1shot.py --fold 0
    python tools/analysis_tools/browse_episodes.py CONFIG --split test --protocol hsnet --support-annotation scribble

The pages are `<out>/<split>_fold<F>[_<protocol>]_<page>.png`. Look at them before a long training: wrong masks, lost
objects and swapped colours show at once.
"""

import argparse
import logging
import sys
from pathlib import Path

import numpy as np
from mmengine.logging import MMLogger
from PIL import Image
from tqdm import tqdm

from mmfss.datasets import EpisodicDataset
from mmfss.engine.cli import add_run_options, add_shots_option, load_config
from mmfss.registry import DATASETS
from mmfss.utils.configs import type_name
from mmfss.utils.files import atomic_open, check_writable
from mmfss.utils.plain_errors import plain_errors
from mmfss.visualization import EpisodeVisualizer
from mmfss.visualization.contact_sheet import contact_sheet, draw_item


def parse_args(argv: list[str] | None = None) -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a stage-2 config')
    parser.add_argument(
        '--split',
        nargs='+',
        choices=['train', 'val', 'test'],
        help='which episodes (default: train and test, as far as the config has them)',
    )
    parser.add_argument('--protocol', metavar='NAME', help='test by this protocol: see tools/test.py')
    parser.add_argument(
        '--support-annotation',
        choices=['mask', 'box', 'scribble', 'point'],
        help='what the supports are annotated with',
    )
    parser.add_argument('--num', type=int, default=12, help='episodes of each split (12)')
    parser.add_argument('--page', type=int, default=12, help='episodes of a page (12)')
    parser.add_argument('--columns', type=int, default=2, help='columns of a page (2)')
    parser.add_argument('--height', type=int, default=200, help='height of an image, pixels (200)')
    parser.add_argument('--seed', type=int, default=0, help='of the choice of episodes and of the augmentation (0)')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/browse'), help='folder (work_dirs/browse)')
    add_shots_option(parser)
    add_run_options(parser)
    args = parser.parse_args(argv)
    if min(args.num, args.page, args.columns) < 1 or args.height < 50:
        parser.error('--num, --page and --columns must be at least 1, --height at least 50')
    return args, parser


def browse(dataset: EpisodicDataset, args: argparse.Namespace, name: str) -> list[Path]:
    """Write the pages of one data set; returns their paths."""
    check_writable(args.out)
    visualizer = EpisodeVisualizer(f'browse_{name}', outputs=('base',), height=args.height)
    visualizer.dataset_meta = dataset.metainfo
    np.random.seed(args.seed)
    # Spread over the list, which is often sorted by class or by name.
    chosen = np.sort(np.random.permutation(len(dataset))[: args.num])
    sheets = [draw_item(visualizer, dataset, int(i)) for i in tqdm(chosen, desc=name, disable=not sys.stderr.isatty())]
    args.out.mkdir(parents=True, exist_ok=True)
    paths = []
    for page, start in enumerate(range(0, len(sheets), args.page)):
        paths.append(args.out / f'{name}_{page}.png')
        with atomic_open(paths[-1]) as stream:
            Image.fromarray(contact_sheet(sheets[start : start + args.page], args.columns)).save(stream, 'PNG')
    return paths


@plain_errors('browse_episodes')
def main(argv: list[str] | None = None) -> int:
    args, parser = parse_args(argv)
    MMLogger.get_current_instance().setLevel(logging.WARNING)
    cfg = load_config(args, parser)
    try:
        loaders = {split: cfg.get(f'{split}_dataloader') or {} for split in ('train', 'val', 'test')}
        for split in dict.fromkeys(args.split or [split for split in ('train', 'test') if loaders[split]]):
            config = loaders[split].get('dataset', {})
            if type_name(config) != 'EpisodicDataset':
                parser.error(f'{args.config}: {split}_dataloader.dataset is no EpisodicDataset')
            if args.support_annotation:
                config.support_annotation = args.support_annotation
            dataset = DATASETS.build(config)
            parts = [split, f'fold{dataset.metainfo["fold"]}', dataset.metainfo['protocol'], args.support_annotation]
            for path in browse(dataset, args, '_'.join(part for part in parts if part)):
                print(path)
    except (OSError, ValueError) as error:
        print(f'browse_episodes.py: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
