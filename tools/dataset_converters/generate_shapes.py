# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Generates the quickstart's data set: 20 classes of patterned shapes in the PASCAL VOC layout.

python tools/dataset_converters/generate_shapes.py --out data/shapes --preview work_dirs/shapes.png
"""

import argparse
import sys
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from mmfss.datasets.synthetic import ShapesSpec, generate_shapes
from mmfss.datasets.synthetic.preview import preview_sheet
from mmfss.utils.plain_errors import plain_errors
from mmfss.utils.workers import WorkerDied


def parse_args() -> argparse.Namespace:
    default = ShapesSpec()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('data/shapes'), help='folder to create (%(default)s)')
    parser.add_argument('--train', type=int, default=default.train, help='training images (%(default)s)')
    parser.add_argument('--val', type=int, default=default.val, help='validation images (%(default)s)')
    parser.add_argument('--size', type=int, default=default.size, help='image side in pixels (%(default)s)')
    parser.add_argument('--seed', type=int, default=default.seed, help='equal seeds, equal files (%(default)s)')
    parser.add_argument('--workers', type=int, help='processes (one a core); 0: none but this one')
    parser.add_argument('--overwrite', action='store_true', help='replace a set made with other parameters')
    parser.add_argument('--preview', type=Path, metavar='FILE', help='also write a contact sheet, a PNG')
    return parser.parse_args()


@plain_errors('generate_shapes')
def main() -> None:
    args = parse_args()
    bar = tqdm(total=args.train + args.val, desc='images', unit='', delay=0.5, mininterval=0.5)

    def progress(done: int, total: int) -> None:
        bar.update(done - bar.n)

    try:
        spec = ShapesSpec(train=args.train, val=args.val, size=args.size, seed=args.seed)
        written = generate_shapes(args.out, spec, overwrite=args.overwrite, workers=args.workers, progress=progress)
    except (ValueError, OSError, WorkerDied) as error:
        sys.exit(f'generate_shapes: {error}')
    finally:
        bar.close()
    print(
        f'{args.out}: {spec.train} training and {spec.val} validation images'
        if written
        else f'{args.out}: already there with these parameters'
    )
    if args.preview:
        args.preview.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(preview_sheet(args.out)).save(args.preview)
        print(f'{args.preview}: contact sheet')


if __name__ == '__main__':
    main()
