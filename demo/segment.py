#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Segment your own images by a few annotated ones.

    python demo/segment.py photos --support a.jpg a.png --support b.jpg b.png --out found
    python demo/segment.py CONFIG CHECKPOINT photos --support a.jpg a.json --label gear --out found
    python demo/segment.py CONFIG CHECKPOINT 'photos/**/*.jpg' clip.mp4 --out found \\
        --class gear --support a.jpg a.png --box b.jpg 40 30 200 180 --class wheel --bank wheel.pth

Without CONFIG and CHECKPOINT the model for photos of anything that comes with mmfss is used. CONFIG is a config file or
a model name such as msanet/lite0_pascal_1shot; config and checkpoint stand side by side, before or after the images.
CHECKPOINT is the word `none` for a method that learns nothing, prototype/lite0_pascal for one. Images are files,
folders, globs and videos. What is said of a class (--support, --label, --box, --polygon, --points, --mask-value,
--bank, --save-bank) belongs to the --class before it; a single class needs none. Of a class with two supports or more
it is printed how well each is found by the others.
"""

import argparse
import dataclasses
import logging
import sys
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from PIL import Image

CHECKPOINTS = ('.pth', '.pt', '.ckpt')
NO_CHECKPOINT = 'none'


@dataclass
class ClassOptions:
    """What the command line says about one class."""

    name: str | None = None
    bank: str | None = None
    images: list[str] = field(default_factory=list)
    masks: list = field(default_factory=list)
    value: int | None = None
    label: str | None = None
    save: str | None = None


class _ClassAction(argparse.Action):
    """Puts an option into the class it belongs to."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        classes = namespace.classes
        kind = option_string.lstrip('-')
        starts = kind == 'class' or (kind == 'bank' and classes and classes[-1] != ClassOptions(classes[-1].name))
        if starts or not classes:
            classes.append(ClassOptions())
        current = classes[-1]
        try:
            if kind == 'support':
                annotation = values[1]
            elif kind == 'box':
                annotation = dict(box=[float(v) for v in values[1:]])
            elif kind in ('polygon', 'points'):
                annotation = {kind: [tuple(float(v) for v in pair.split(',')) for pair in values[1].split()]}
        except ValueError:
            parser.error(f'{option_string} {" ".join(values)}: coordinates are numbers in pixels, as in its help')
        if kind in ('support', 'box', 'polygon', 'points'):
            current.images.append(values[0])
            current.masks.append(annotation)
        else:
            setattr(current, {'class': 'name', 'mask-value': 'value', 'save-bank': 'save'}.get(kind, kind), values)


def make_parser() -> argparse.ArgumentParser:
    """The options of this tool."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage='%(prog)s CONFIG CHECKPOINT IMAGES... [--class NAME] --support IMAGE MASK [--support ...] --out DIR ...',
    )
    parser.set_defaults(classes=[])
    parser.add_argument(
        '--no-check',
        action='store_true',
        help='do not segment each support by the others first, which says how well the class will be found',
    )
    parser.add_argument(
        'paths',
        nargs='+',
        metavar='CONFIG CHECKPOINT IMAGES',
        help='config or model name, checkpoint or `none`, then images, folders, globs (in quotes), videos',
    )
    group = parser.add_argument_group('classes')
    group.add_argument('--class', action=_ClassAction, metavar='NAME', help='begin a class')
    group.add_argument(
        '--support',
        nargs=2,
        action=_ClassAction,
        metavar=('IMAGE', 'ANNOTATION'),
        help='an annotated image; a mask (black and white, or 0 and 1) or a file of labelme, COCO, YOLO, CVAT, Pascal '
        'VOC or numpy',
    )
    group.add_argument(
        '--box',
        nargs=5,
        action=_ClassAction,
        metavar=('IMAGE', 'X1', 'Y1', 'X2', 'Y2'),
        help='an image with a box around the object, in pixels',
    )
    group.add_argument(
        '--polygon',
        nargs=2,
        action=_ClassAction,
        metavar=('IMAGE', '"X,Y X,Y X,Y"'),
        help='an image with an outline of the object',
    )
    group.add_argument(
        '--points',
        nargs=2,
        action=_ClassAction,
        metavar=('IMAGE', '"X,Y X,Y"'),
        help='an image with points on the object',
    )
    group.add_argument(
        '--mask-value',
        type=int,
        action=_ClassAction,
        metavar='N',
        help='which value of masks of several classes is the object',
    )
    group.add_argument(
        '--label',
        action=_ClassAction,
        metavar='NAME',
        help='which label is the object, in files of annotation tools that have several',
    )
    group.add_argument('--bank', action=_ClassAction, metavar='FILE', help='a class that --save-bank saved')
    group.add_argument('--save-bank', action=_ClassAction, metavar='FILE', help='save the class for later')
    parser.add_argument('--name', help="name of the class when there is only one ('object')")
    parser.add_argument('--out', metavar='DIR', help='folder of masks, overlays and annotations.json')
    parser.add_argument(
        '--format',
        nargs='+',
        choices=('png', 'coco', 'labelme', 'yolo'),
        default=['png', 'coco'],
        metavar='FORMAT',
        help='what to write, for an annotation tool to correct: png (masks, always written), coco, labelme, yolo '
        '(png coco)',
    )
    parser.add_argument('--threshold', type=float, default=0.5, help='smallest probability of an object (%(default)s)')
    parser.add_argument(
        '--min-score',
        type=float,
        default=0,
        metavar='S',
        help='leave a class out of images whose presence score for it is lower, such as 0.7; 0 is off (%(default)s)',
    )
    parser.add_argument(
        '--min-area',
        type=float,
        default=0,
        metavar='A',
        help='leave a class out of images of which it covers less: a share below 1, or pixels (%(default)s)',
    )
    parser.add_argument('--batch-size', type=int, default=4, help='images at once (%(default)s)')
    parser.add_argument('--skip-existing', action='store_true', help='leave out images that an earlier run finished')
    parser.add_argument('--device', help="such as 'cuda:0' or 'cpu'; by default a GPU where there is one")
    parser.add_argument(
        '--precision',
        choices=('float32', 'bfloat16', 'auto'),
        help='number format to compute in; bfloat16 is faster where the device computes in it, auto takes '
        "it there (the model's own, float32 as a rule)",
    )
    parser.add_argument(
        '--refine',
        choices=('repri',),
        help="fit a classifier to every image, on the model's features, in place of the method's own head",
    )
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='read a checkpoint that holds Python objects too; they can run code',
    )
    parser.add_argument('--show', action='store_true', help='show each overlay in a window')
    parser.add_argument('--max-megapixels', type=float, metavar='N', help='accept images up to this size (89)')
    return parser


def names_config(path: str) -> bool:
    """Whether a path is a config's rather than an image's."""
    from mmfss.utils.configs import find_config

    if Path(path).exists() and Path(path).suffix != '.py':
        return False
    try:
        return bool(find_config(path))
    except (FileNotFoundError, ValueError):
        return Path(path).suffix == '.py'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Options with ``config``, ``checkpoint``, ``queries`` and ``classes``."""
    parser = make_parser()
    args = parser.parse_intermixed_args(argv)
    places = [
        i
        for i, (_, path) in enumerate(pairwise(args.paths))
        if Path(path).suffix in CHECKPOINTS or path == NO_CHECKPOINT
    ]
    if not places and not any(names_config(path) for path in args.paths):
        args.config, args.checkpoint, args.queries = None, None, args.paths
    elif len(places) == 1:
        args.config, args.checkpoint = args.paths[places[0] : places[0] + 2]
        args.queries = args.paths[: places[0]] + args.paths[places[0] + 2 :]
    else:
        parser.error(
            f'give CONFIG CHECKPOINT side by side, the checkpoint ending in {", ".join(CHECKPOINTS)}, or the word '
            f'{NO_CHECKPOINT} for a method that learns nothing; or neither, for the model that comes with mmfss'
        )
    if not args.classes or not all(c.images or c.bank for c in args.classes):
        parser.error('each class needs at least one --support IMAGE MASK (or --box, --polygon, --points, --bank)')
    if args.name:
        if len(args.classes) > 1 or args.classes[0].name:
            parser.error('--name is for a single class; use --class NAME before the options of each')
        args.classes[0].name = args.name
    if not args.queries and not any(c.save for c in args.classes):
        parser.error('there is nothing to do: give images to segment, or --save-bank FILE')
    if args.queries and not (args.out or args.show):
        parser.error('say where the results go: --out DIR')
    return args


def register(inferencer, options: ClassOptions, no_check: bool = False):
    """The class that the options describe, saved where they say so; what its supports promise is printed."""
    from mmfss.apis import RegisteredClass, check_supports

    registered = None
    if options.bank:
        registered = RegisteredClass.load(options.bank)
        inferencer.check(registered)
        if options.name:
            registered = dataclasses.replace(registered, name=options.name)
    if options.images:
        given = {key: value for key in ('value', 'label') if (value := getattr(options, key)) is not None}
        masks = [dict(mask=mask, **given) if isinstance(mask, str) else mask for mask in options.masks]
        if len(options.images) > 1 and not registered and not no_check:
            print(check_supports(inferencer, options.name or 'object', options.images, masks), flush=True)
        registered = (
            inferencer.extend(registered, options.images, masks)
            if registered
            else inferencer.register(options.name or 'object', options.images, masks)
        )
    if options.save:
        registered.save(options.save)
        print(
            f"class '{registered.name}', {registered.num_shots} shots, {registered.nbytes / 2**20:.1f} MiB: "
            f'{options.save}'
        )
    return registered


def run(args: argparse.Namespace) -> None:
    """Register the classes, segment the images, say where the results are."""
    from mmfss.apis import FewShotInferencer
    from mmfss.utils.checkpoint_files import trust_checkpoints

    if args.trust_checkpoint:
        trust_checkpoints()
    inferencer = FewShotInferencer(
        args.config, args.checkpoint, args.device, precision=args.precision, refine=args.refine
    )
    classes = [register(inferencer, options, args.no_check) for options in args.classes]
    if not args.queries:
        return
    start, count, last = time.perf_counter(), 0, None
    missing = dict.fromkeys((registered.name for registered in classes), 0)
    for result in inferencer.stream(
        args.queries,
        classes,
        args.batch_size,
        args.threshold,
        args.out,
        args.show,
        args.skip_existing,
        args.format,
        args.min_score,
        args.min_area,
    ):
        count, last = count + 1, result.name
        for name in set(missing) - set(result.found):
            missing[name] += 1
    seconds = time.perf_counter() - start
    print(f'{count} images segmented in {seconds:.1f} s ({count / seconds:.1f} images/s) on {inferencer.device}')
    not_found = [f'{name} in {number}' for name, number in missing.items() if number]
    if not_found:
        print(f'not found: {", ".join(not_found)} of {count}')
    if args.out:
        out = Path(args.out)
        places = dict(coco='annotations.json', labelme='labelme', yolo='yolo')
        more = ''.join(f', {name} {out / places[name]}' for name in args.format if name in places)
        print(f'masks {out / "masks"}, overlays {out / "overlays"}{more}')
        if last:
            print(f'overlay: {out / "overlays" / (last + ".jpg")}')


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    if args.max_megapixels is not None:
        Image.MAX_IMAGE_PIXELS = round(args.max_megapixels * 1e6)
    try:
        run(args)
    except (OSError, ValueError) as error:
        print(f'segment.py: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            '\nsegment.py: interrupted. Finished files stay; the same command with --skip-existing goes on from here.',
            file=sys.stderr,
        )
        return 130
    return 0


if __name__ == '__main__':
    logging.disable(logging.INFO)  # mmengine tells every environment variable that a config reads
    sys.exit(main())
