#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Segment all images of a folder of classes, and say how well.

    python tools/analysis_tools/folder_benchmark.py CONFIG CHECKPOINT --data-root data/mine --shots 1 5

The folder is laid out as FSS-1000: CLASS/K.jpg and CLASS/K.png, black and white. Of each class the first K images are
the supports and all others the queries: each is segmented once, by supports that are the same for its whole class.
Writes benchmark.json and benchmark.md.
"""

import argparse
import logging
import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mmfss.apis import FewShotInferencer
from mmfss.apis.refinement import REFINEMENTS
from mmfss.datasets.folder import class_folders
from mmfss.datasets.image_headers import check_file
from mmfss.datasets.listings import list_pairs, say_unused
from mmfss.datasets.mask_files import bright_values, read_mask
from mmfss.evaluation.functional import confusion, fb_iou, foreground_iou
from mmfss.utils.checkpoint_files import add_trust_option
from mmfss.utils.files import atomic_write_json, atomic_write_text, check_writable
from mmfss.utils.plain_errors import plain_errors
from mmfss.utils.precision import add_precision_option

CURE = 'Free some space or choose another --out'


def find_pairs(root: Path, image_suffix: str, mask_suffix: str) -> tuple[dict, dict[str, list[str]]]:
    """Image and mask paths of each class, numbers in order, and what is not used, by reason.

    Raises:
        FileNotFoundError: When the folder or a mask is missing.
        ValueError: When there is no class folder with an image, or a file is there twice.
    """
    if not root.is_dir():
        raise FileNotFoundError(f'there is no folder {root}; set it with --data-root')
    found, unused = {}, {}
    for name in class_folders(str(root)):
        pairs, left = list_pairs(root / name, image_suffix, mask_suffix)
        for reason, files in left.items():
            unused.setdefault(reason, []).extend(f'{name}/{file}' for file in files)
        for image, mask in pairs.values():
            if not Path(mask).is_file():
                raise FileNotFoundError(f'the image {image} has no mask {mask}; see --mask-suffix')
        if pairs:
            found[name] = [(Path(image), Path(mask)) for image, mask in pairs.values()]
        else:
            unused.setdefault('class folders without an image', []).append(name)
    if not found:
        left = f'. They hold {say_unused(unused)}' if unused else ''
        raise ValueError(f'{root} has no folders with images *{image_suffix}; see --image-suffix{left}')
    return found, unused


def read_object(path: Path, threshold: int) -> np.ndarray:
    """(H, W) bool: where a mask is at least so bright."""
    return read_mask(path, f'the mask {path}', bright_values) >= threshold


def check_pairs(classes: dict[str, list[tuple[Path, Path]]], threshold: int) -> None:
    """Read every mask and the start of every image before long work, and say which masks show nothing.

    Raises:
        ValueError: When a file cannot be read, or a mask holds values of which none is the object.
    """
    black, dark = [], []
    for image, mask in (pair for pairs in classes.values() for pair in pairs):
        check_file(image)
        top = int(read_mask(mask, f'the mask {mask}', bright_values).max())
        if top < threshold:
            (dark if top else black).append(str(mask))
    if dark:
        raise ValueError(
            f'{len(dark)} masks hold values, but none from --mask-threshold {threshold} on: {", ".join(dark[:3])}. '
            'Save them as 0 and 255; or take --mask-threshold 1 if every value above 0 is the object in all masks'
        )
    if black:
        print(f'{len(black)} masks are all black and count as images without the object: {", ".join(black[:3])}')


def segment_class(
    inferencer: FewShotInferencer, name: str, pairs: list[tuple[Path, Path]], shots: int, args: argparse.Namespace
) -> dict:
    """Pixel counts (tn, fp, fn, tp) over all queries of a class, and the seconds it took."""
    start = time.perf_counter()
    supports, queries = pairs[:shots], pairs[shots:]
    bank = inferencer.register(
        name, [image for image, _ in supports], [read_object(mask, args.mask_threshold) for _, mask in supports]
    )
    results = inferencer.stream([image for image, _ in queries], bank, args.batch_size, args.threshold)
    counts, seconds = np.zeros(4, np.int64), 0.0
    for (image, mask), result in zip(queries, results, strict=True):
        seconds += time.perf_counter() - start  # without reading and comparing the truth
        truth = read_object(mask, args.mask_threshold)
        if truth.shape != result.mask.shape:
            raise ValueError(f'the mask {mask} is {truth.shape}, its image {image} {result.mask.shape} (h, w)')
        counts += confusion(result.mask, truth.astype(np.uint8))
        start = time.perf_counter()
    return dict(
        name=name,
        images=len(queries),
        counts=counts.tolist(),
        seconds=seconds,
        IoU=100 * float(foreground_iou(counts)),
        all_foreground=100 * float(counts[2:].sum() / max(counts.sum(), 1)),
    )


def measure(inferencer: FewShotInferencer, classes: dict, shots: int, args: argparse.Namespace) -> dict:
    """All classes with K supports each."""
    enough = {name: pairs for name, pairs in classes.items() if len(pairs) > shots}
    if not enough:
        raise ValueError(
            f'no class of {args.data_root} has the {shots + 1} images that {shots} supports and a query need'
        )
    rows = [
        segment_class(inferencer, name, pairs, shots, args)
        for name, pairs in tqdm(
            enough.items(), desc=f'{shots}-shot', unit='class', mininterval=0.5 if sys.stderr.isatty() else 20
        )
    ]
    images = sum(row['images'] for row in rows)
    return dict(
        mIoU=float(np.mean([row['IoU'] for row in rows])),
        all_foreground=float(np.mean([row['all_foreground'] for row in rows])),
        **{'FB-IoU': 100 * float(fb_iou(np.sum([row['counts'] for row in rows], axis=0)))},
        images=images,
        images_per_second=images / sum(row['seconds'] for row in rows),
        per_class=rows,
        too_few_images=[name for name in classes if name not in enough],
    )


def markdown(report: dict) -> str:
    """One table: classes as rows, numbers of shots as columns."""
    shots = report['shots']
    columns = [f'{k}-shot' for k in shots]

    def row(name: str, values) -> str:
        return f'| {name} | ' + ' | '.join(values) + ' |'

    refined = f', refined by {report["refine"]}' if report['refine'] else ''
    lines = [
        f'{report["data_root"]}, {Path(report["config"]).name}, {report["checkpoint"]}, {report["device"]}{refined}',
        '',
        row('IoU, percent', [*columns, 'all-foreground']),
        '|---|' + '---|' * (len(columns) + 1),
    ]
    by_class = [{entry['name']: entry for entry in found['per_class']} for found in shots.values()]
    for name in dict.fromkeys(name for entries in by_class for name in entries):
        values = [f'{entries[name]["IoU"]:.1f}' if name in entries else '-' for entries in by_class]
        baseline = next(entries[name]['all_foreground'] for entries in by_class if name in entries)
        lines.append(row(name, [*values, f'{baseline:.1f}']))
    first = next(iter(shots.values()))
    lines += [
        row('**mIoU**', [*(f'**{found["mIoU"]:.1f}**' for found in shots.values()), f'{first["all_foreground"]:.1f}']),
        row('FB-IoU', [*(f'{found["FB-IoU"]:.1f}' for found in shots.values()), '']),
        row('images', [*(str(found['images']) for found in shots.values()), '']),
        row('images per second', [*(f'{found["images_per_second"]:.1f}' for found in shots.values()), '']),
    ]
    lines += [
        f'\nLeft out of {k}-shot, which have too few images: {", ".join(found["too_few_images"])}.'
        for k, found in shots.items()
        if found['too_few_images']
    ]
    return '\n'.join(lines) + '\n'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The options of this tool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file or model name of stage 2')
    parser.add_argument('checkpoint', help='checkpoint file, or `none` for a method that learns nothing')
    parser.add_argument('--data-root', type=Path, required=True, help='folder of the class folders')
    parser.add_argument('--shots', type=int, nargs='+', default=[1], help='supports of each class (1)')
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
    if min(args.shots) < 1:
        parser.error('--shots are whole numbers of at least 1')
    args.out = args.out or Path('work_dirs/folder_benchmark') / args.data_root.resolve().name
    return args


@plain_errors('folder_benchmark')
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        check_writable(args.out)
        classes, unused = find_pairs(args.data_root, args.image_suffix, args.mask_suffix)
        left = f'; not used: {say_unused(unused)}' if unused else ''
        print(f'{args.data_root}: {sum(map(len, classes.values()))} images of {len(classes)} classes{left}', flush=True)
        check_pairs(classes, args.mask_threshold)
        inferencer = FewShotInferencer(
            args.config,
            args.checkpoint,
            args.device,
            show_progress=False,
            precision=args.precision,
            refine=args.refine,
        )
        report = dict(
            data_root=args.data_root.name,
            config=args.config,
            checkpoint=args.checkpoint,
            fingerprint=inferencer.fingerprint,
            device=str(inferencer.device),
            precision=inferencer.model.precision,
            refine=args.refine,
            threshold=args.threshold,
            shots={k: measure(inferencer, classes, k, args) for k in dict.fromkeys(args.shots)},
        )
        table = markdown(report)
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
