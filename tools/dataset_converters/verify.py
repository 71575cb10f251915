# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Counts a prepared data set: images of each fold and phase, candidates of each class, a hash of each list.

python tools/dataset_converters/verify.py pascal5i --data-root data/VOCdevkit/VOC2012
python tools/dataset_converters/verify.py coco20i --data-root data/coco --tolerance 1
python tools/dataset_converters/verify.py configs/my_config.py --save counts.json
python tools/dataset_converters/verify.py configs/my_config.py --expected counts.json

The expected numbers stand beside: the published ones of the two benchmarks, or those of --expected. Exit status 1 when
something differs, 2 when the data cannot be read.
"""

import argparse
import os
import sys
from pathlib import Path

from mmengine.config import Config

from mmfss.datasets import COCO20iDataset, EpisodicDataset, Pascal5iDataset
from mmfss.datasets.preparation import PreparationError, count_images, difference
from mmfss.datasets.preparation.expected import COCO_FWB, PASCAL
from mmfss.datasets.preparation.verification import format_table, read_counts, save_counts
from mmfss.engine.cross_validation import all_folds
from mmfss.registry import DATASETS
from mmfss.utils.plain_errors import plain_errors

AREA = 2048  # what the published counts hold for
LIST = 'ImageSets/Segmentation/{}.txt'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', help='pascal5i, coco20i, or a config whose train and test data sets are counted')
    parser.add_argument('--data-root', help="where the data lies, instead of the configs' default")
    parser.add_argument('--folds', nargs='+', type=int, metavar='N', help='folds (all of the data set)')
    parser.add_argument('--candidate-area', type=int, default=AREA, help='(%(default)s)')
    parser.add_argument('--train-list', default=LIST.format('train_5953'), help='of pascal5i (%(default)s)')
    parser.add_argument('--val-list', default=LIST.format('val'), help='of pascal5i (%(default)s)')
    parser.add_argument('--scheme', choices=('fwb', 'panet'), default='fwb', help='of coco20i (%(default)s)')
    parser.add_argument('--year', default='2014', help='of coco20i (%(default)s)')
    parser.add_argument('--masks-only', action='store_true', help='of pascal5i: look at masks alone')
    parser.add_argument('--save', type=Path, help='write the counts to this JSON file')
    parser.add_argument('--expected', type=Path, help='compare with the counts of this JSON file')
    parser.add_argument(
        '--tolerance',
        type=float,
        default=0,
        metavar='PERCENT',
        help='by which numbers may differ; hashes are then not compared (%(default)s)',
    )
    return parser.parse_args(argv)


def pascal_lists(args: argparse.Namespace):
    """Yield (name, data set) of every list of PASCAL-5i."""
    options = dict(data_root=args.data_root or 'data/VOCdevkit/VOC2012', candidate_area=args.candidate_area)
    if args.masks_only:
        options.update(
            img_suffix='.png', data_prefix=dict(img_path='SegmentationClassAug', seg_map_path='SegmentationClassAug')
        )
    for fold in args.folds or range(Pascal5iDataset.num_folds):
        train = dict(fold=fold, phase='train', ann_file=args.train_list, **options)
        yield f'fold {fold} train', Pascal5iDataset(**train)
        yield f'fold {fold} train, novel images kept', Pascal5iDataset(exclude_novel=False, **train)
        yield f'fold {fold} val', Pascal5iDataset(fold=fold, phase='val', ann_file=args.val_list, **options)


def coco_lists(args: argparse.Namespace):
    """Yield (name, data set) of every list of COCO-20i."""
    for fold in args.folds or range(COCO20iDataset.num_folds):
        for phase in ('train', 'val'):
            yield (
                f'fold {fold} {phase}',
                COCO20iDataset(
                    fold=fold,
                    phase=phase,
                    data_root=args.data_root or 'data/coco',
                    scheme=args.scheme,
                    year=args.year,
                    candidate_area=args.candidate_area,
                ),
            )


def config_lists(args: argparse.Namespace):
    """Yield (name, data set) of the lists that a config trains and tests on."""
    if args.data_root:
        os.environ['MMFSS_DATA_ROOT'] = args.data_root
    if args.candidate_area != AREA:
        os.environ['MMFSS_CANDIDATE_AREA'] = str(args.candidate_area)
    for fold in args.folds or all_folds(Config.fromfile(args.data)):
        os.environ['FOLD'] = str(fold)
        config = Config.fromfile(args.data)
        for phase in ('train', 'test'):
            dataset = DATASETS.build({**config[f'{phase}_dataloader'].dataset, 'lazy_init': True})
            yield f'fold {fold} {phase}', dataset.dataset if isinstance(dataset, EpisodicDataset) else dataset


@plain_errors('verify')
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    lists, expected = config_lists, {}
    if args.data == 'pascal5i':
        lists, expected = pascal_lists, PASCAL if args.candidate_area == AREA else {}
    elif args.data == 'coco20i':
        published = args.candidate_area == AREA and args.scheme == 'fwb' and args.year == '2014'
        lists, expected = coco_lists, COCO_FWB if published else {}
    try:
        if args.expected:
            expected = read_counts(args.expected)
        counts = {name: count_images(dataset) for name, dataset in lists(args)}
    except (PreparationError, ValueError, OSError) as error:
        print(f'verify: {error}', file=sys.stderr)
        return 2
    print(format_table(counts, expected, args.tolerance))
    if args.save:
        save_counts(counts, args.save)
    differing = {name: difference(count, expected.get(name), args.tolerance) for name, count in counts.items()}
    for name, words in differing.items():
        if words:
            print(f'{name}: ' + '; '.join(words), file=sys.stderr)
    if not expected:
        print('nothing is known about these lists: --save and --expected compare two copies', file=sys.stderr)
    return int(any(differing.values()))


if __name__ == '__main__':
    sys.exit(main())
