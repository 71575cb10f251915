# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Makes COCO-20i's masks from COCO's official annotations: index PNGs, 1..80 in the order of COCO's ids.

python tools/dataset_converters/coco20i.py --data-root data/coco
python tools/dataset_converters/coco20i.py --data-root data/coco --year 2017 --overlap last --crowd object

Reads annotations/instances_{train,val}YEAR.json and {train,val}YEAR/*.jpg, writes annotations/{train,val}YEAR/*.png.
After an interruption the same command resumes.

--overlap says which object a pixel of several belongs to: the one of fewest pixels (small), or the last or first in
the file. --crowd says what a crowd region is where no object is: 255 (ignore), an object of its class (object), or
nothing (background).
"""

import argparse
import sys
from pathlib import Path

from mmfss.datasets import COCO20iDataset
from mmfss.datasets.preparation import CROWD_RULES, OVERLAP_RULES, WITHOUT_RULES, PreparationError, prepare_coco
from mmfss.utils.plain_errors import plain_errors


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data-root', type=Path, default=Path('data/coco'), help='(%(default)s)')
    parser.add_argument('--year', choices=('2014', '2017'), default='2014', help='release (%(default)s)')
    parser.add_argument('--phases', nargs='+', choices=('train', 'val'), default=['train', 'val'])
    parser.add_argument('--overlap', choices=OVERLAP_RULES, default='small', help='(%(default)s)')
    parser.add_argument('--crowd', choices=CROWD_RULES, default='ignore', help='(%(default)s)')
    parser.add_argument('--json', type=Path, help='one other JSON file to convert; needs --out')
    parser.add_argument('--images', type=Path, help="with --json: the images' folder")
    parser.add_argument('--out', type=Path, help='with --json: folder of the masks to make')
    parser.add_argument('--no-images', action='store_true', help='do not require the images to be there')
    parser.add_argument('--any-classes', action='store_true', help="take classes other than COCO's 80")
    parser.add_argument(
        '--without-segmentation',
        choices=WITHOUT_RULES,
        default='refuse',
        help='what to do with annotations that have none: refuse the file, skip them, or fill their box (%(default)s)',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace masks that were made with other rules')
    parser.add_argument('--workers', type=int, help='processes (one a core); 0: none but this one')
    args = parser.parse_args(argv)
    if args.json and not (args.out and (args.images or args.no_images)):
        parser.error('--json needs --out and --images (or --no-images)')
    return args


@plain_errors('coco20i')
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    sources = [(args.json, args.images, args.out)]
    if args.json is None:
        labels = args.data_root / 'annotations'
        sources = [
            (
                labels / f'instances_{phase}{args.year}.json',
                args.data_root / f'{phase}{args.year}',
                labels / f'{phase}{args.year}',
            )
            for phase in args.phases
        ]
    names = None if args.any_classes else COCO20iDataset.METAINFO['classes'][1:]
    for json_file, images, masks in sources:
        try:
            made = prepare_coco(
                json_file,
                None if args.no_images else images,
                masks,
                overlap=args.overlap,
                crowd=args.crowd,
                names=names,
                without=args.without_segmentation,
                overwrite=args.overwrite,
                workers=args.workers,
            )
        except (PreparationError, OSError) as error:
            sys.exit(f'coco20i: {error}')
        except KeyboardInterrupt:
            sys.exit('\ncoco20i: interrupted; the same command resumes.')
        print(f'{masks}: {len(made.images)} masks of {len(made.names)} classes')
        for note in made.notes:
            print(f'{json_file}: {note}')
        if args.any_classes:
            print(f'classes = {("background", *made.names)}')


if __name__ == '__main__':
    main()
