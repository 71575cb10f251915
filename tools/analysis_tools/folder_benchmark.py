#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Segment all images of a folder of classes with one or several methods, and say how well.

    python tools/analysis_tools/folder_benchmark.py CONFIG CHECKPOINT --data-root data/mine --shots 1 5
    python tools/analysis_tools/folder_benchmark.py CONFIG CHECKPOINT --data-root data/mine --shots 1 3 5 10 --draws 3 \
        --floor prototype/lite0_pascal --method OTHER_CONFIG OTHER_CHECKPOINT --wrong-supports

The folder is laid out as FSS-1000: CLASS/K.jpg and CLASS/K.png, black and white. Of each class K images are the
supports (in the first draw the first ones, in others random ones) and all others the queries: each is segmented once,
by supports that are the same for its whole class. All methods see the same supports and queries. Writes benchmark.json
and benchmark.md.
"""

import argparse
import logging
import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mmfss.apis import FewShotInferencer
from mmfss.apis.folder_classes import Pair, check_pairs, draw_supports, find_pairs, read_object, wrong_class
from mmfss.apis.refinement import REFINEMENTS
from mmfss.datasets.listings import say_unused
from mmfss.evaluation.folder_report import below_floor, class_row, class_table, method_table, summary
from mmfss.evaluation.functional import confusion
from mmfss.utils.checkpoint_files import add_trust_option
from mmfss.utils.files import atomic_write_json, atomic_write_text, check_writable
from mmfss.utils.plain_errors import plain_errors
from mmfss.utils.precision import add_precision_option

CURE = 'Free some space or choose another --out'


def register(inferencer: FewShotInferencer, name: str, supports: list[Pair], args: argparse.Namespace):
    """A registered class of these images and masks."""
    images, masks = zip(*supports, strict=True)
    return inferencer.register(name, list(images), [read_object(mask, args.mask_threshold) for mask in masks])


def segment_class(
    inferencer: FewShotInferencer, name: str, classes: dict[str, list[Pair]], shots: int, draw: int, args
) -> dict:
    """Pixel counts (tn, fp, fn, tp) over all queries of a class, presence scores, and the seconds it took."""
    start = time.perf_counter()
    supports, queries = draw_supports(name, classes[name], shots, draw)
    banks = [register(inferencer, name, supports, args)]
    if args.wrong_supports:
        other = wrong_class(name, list(classes), draw)
        banks.append(register(inferencer, other, draw_supports(other, classes[other], shots, draw)[0], args))
    results = inferencer.stream([image for image, _ in queries], banks, args.batch_size, args.threshold)
    counts, presence, seconds = np.zeros((len(banks), 4), np.int64), [], 0.0
    for (image, mask), result in zip(queries, results, strict=True):
        seconds += time.perf_counter() - start  # without reading and comparing the truth
        truth = read_object(mask, args.mask_threshold)
        if truth.shape != result.mask.shape:
            raise ValueError(f'the mask {mask} is {truth.shape}, its image {image} {result.mask.shape} (h, w)')
        for row, scores in zip(counts, result.scores, strict=True):  # each class as if it were alone
            row += confusion((scores >= args.threshold).astype(np.uint8), truth.astype(np.uint8))
        if truth.any():
            presence.append(result.presence)
        start = time.perf_counter()
    return dict(counts=counts, presence=presence, seconds=seconds, images=len(queries))


def measure(inferencer: FewShotInferencer, label: str, classes: dict, shots: int, args: argparse.Namespace) -> dict:
    """All classes with K supports each, in every draw."""
    enough = {name: pairs for name, pairs in classes.items() if len(pairs) > shots}
    if not enough:
        raise ValueError(
            f'no class of {args.data_root} has the {shots + 1} images that {shots} supports and a query need'
        )
    bar = tqdm(enough, desc=f'{label}, {shots}-shot', unit='class', mininterval=0.5 if sys.stderr.isatty() else 20)
    rows = [
        class_row(name, [segment_class(inferencer, name, enough, shots, draw, args) for draw in range(args.draws)])
        for name in bar
    ]
    return summary(rows, [name for name in classes if name not in enough])


def label_of(config: str, taken: list[str]) -> str:
    """A name of a method in tables: the config's folder and name, numbered where it is taken."""
    path = Path(config).with_suffix('')
    label = '/'.join(path.parts[-2:])
    return label if label not in taken else f'{label} {taken.count(label) + 1}'


def run_method(config: str, checkpoint: str, label: str, classes: dict, args: argparse.Namespace) -> dict:
    """One method with every number of shots."""
    inferencer = FewShotInferencer(
        config, checkpoint, args.device, show_progress=False, precision=args.precision, refine=args.refine
    )
    return dict(
        config=config,
        checkpoint=checkpoint,
        fingerprint=inferencer.fingerprint,
        device=str(inferencer.device),
        precision=inferencer.model.precision,
        refine=args.refine,
        shots={k: measure(inferencer, label, classes, k, args) for k in dict.fromkeys(args.shots)},
    )


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The options of this tool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file or model name of stage 2')
    parser.add_argument('checkpoint', help='checkpoint file, or `none` for a method that learns nothing')
    parser.add_argument('--data-root', type=Path, required=True, help='folder of the class folders')
    parser.add_argument('--shots', type=int, nargs='+', default=[1], help='supports of each class (1)')
    parser.add_argument('--draws', type=int, default=1, help='times that supports are drawn (%(default)s)')
    parser.add_argument(
        '--method',
        nargs=2,
        action='append',
        default=[],
        metavar=('CONFIG', 'CHECKPOINT'),
        help='another method on the same images; may be given several times',
    )
    parser.add_argument(
        '--floor', metavar='CONFIG', help='a method without weights that the classes of all others are compared with'
    )
    parser.add_argument(
        '--wrong-supports',
        action='store_true',
        help='also segment every query by the supports of another class: how much the supports matter',
    )
    parser.add_argument('--out', type=Path, help='folder of the results (work_dirs/folder_benchmark/NAME)')
    parser.add_argument('--threshold', type=float, default=0.5, help='smallest probability of the object (%(default)s)')
    parser.add_argument('--batch-size', type=int, default=4, help='images at once (%(default)s)')
    parser.add_argument('--device', help="such as 'cuda:0' or 'cpu'")
    add_precision_option(parser)
    parser.add_argument(
        '--refine',
        choices=REFINEMENTS,
        help="fit a classifier to every image, on the model's features, in place of the method's own head",
    )
    add_trust_option(parser)
    parser.add_argument('--image-suffix', default='.jpg', help='(%(default)s)')
    parser.add_argument('--mask-suffix', default='.png', help='(%(default)s)')
    parser.add_argument(
        '--mask-threshold',
        type=int,
        default=128,
        help='mask values from here on are the object; 1 for masks of 0 and 1 (%(default)s)',
    )
    args = parser.parse_args(argv)
    if min(args.shots) < 1 or args.draws < 1:
        parser.error('--shots and --draws are whole numbers of at least 1')
    args.out = args.out or Path('work_dirs/folder_benchmark') / args.data_root.resolve().name
    return args


def compare_methods(classes: dict, args: argparse.Namespace) -> dict:
    """The report: the first method's numbers at its top, those of all methods below ``methods``."""
    asked = [(args.config, args.checkpoint), *map(tuple, args.method)]
    if args.floor:
        asked.append((args.floor, 'none'))
    methods = {}
    for config, checkpoint in asked:
        label = label_of(config, list(methods))
        methods[label] = run_method(config, checkpoint, label, classes, args)
    if args.floor:
        *others, floor = methods.values()
        for method in others:
            for k, found in method['shots'].items():
                found['below_floor'] = below_floor(found, floor['shots'][k])
    head = dict(data_root=args.data_root.name, threshold=args.threshold, draws=args.draws)
    return dict(head, **next(iter(methods.values())), methods=methods)


@plain_errors('folder_benchmark')
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        check_writable(args.out)
        classes, unused = find_pairs(args.data_root, args.image_suffix, args.mask_suffix)
        left = f'; not used: {say_unused(unused)}' if unused else ''
        print(f'{args.data_root}: {sum(map(len, classes.values()))} images of {len(classes)} classes{left}', flush=True)
        check_pairs(classes, args.mask_threshold)
        report = compare_methods(classes, args)
        table = class_table(report)
        if len(report['methods']) > 1 or args.draws > 1 or args.wrong_supports:
            table += method_table(report)
        atomic_write_json(report, args.out / 'benchmark.json', CURE)
        atomic_write_text(table, args.out / 'benchmark.md', CURE)
    except (OSError, ValueError) as error:
        print(f'folder_benchmark.py: {error}', file=sys.stderr)
        return 1
    print(f'\n{table}\n{args.out / "benchmark.json"}\n{args.out / "benchmark.md"}')
    return 0


if __name__ == '__main__':
    logging.disable(logging.INFO)  # mmengine tells every environment variable that a config reads
    sys.exit(main())
