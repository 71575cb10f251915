# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Makes a data set of what annotation tools write: labelme, COCO, YOLO, CVAT, Pascal VOC, .npy, index masks.

python tools/dataset_converters/annotations.py photos data/mine
python tools/dataset_converters/annotations.py instances.json data/mine --images photos --labels gear nut
python tools/dataset_converters/annotations.py labels data/mine --images photos --layout masks

SRC is an annotation file or a folder of them; images are looked for beside them or in --images. `--layout folders`
writes CLASS/NAME.jpg and CLASS/NAME.png, black and white, for FolderFewShotDataset and DividedFolderDataset;
`--layout masks` writes masks/NAME.png of class indices and classes.txt, for FewShotSegDataset. DST is made as a whole
or not at all.
"""

import argparse
import sys
from pathlib import Path

from mmfss.datasets.preparation import PreparationError
from mmfss.datasets.preparation.annotated import LAYOUTS, prepare_annotations
from mmfss.utils.plain_errors import plain_errors


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', type=Path, metavar='SRC', help='annotation file, or folder of annotation files')
    parser.add_argument('out', type=Path, metavar='DST', help='folder to make')
    parser.add_argument('--images', type=Path, metavar='DIR', help='folder of the images (that of SRC)')
    parser.add_argument('--layout', choices=LAYOUTS, default='folders', help='(%(default)s)')
    parser.add_argument('--labels', nargs='+', metavar='NAME', help='labels to take, in this order (all)')
    parser.add_argument(
        '--skip', action='store_true', help='leave out images that are missing, do not fit or cannot be read'
    )
    parser.add_argument('--workers', type=int, help='processes (one a core); 0: none but this one')
    return parser.parse_args(argv)


@plain_errors('annotations')
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        made = prepare_annotations(
            args.source,
            args.out,
            images=args.images,
            layout=args.layout,
            labels=args.labels,
            skip=args.skip,
            workers=args.workers,
        )
    except (PreparationError, OSError) as error:
        sys.exit(f'annotations: {error}')
    except KeyboardInterrupt:
        sys.exit('\nannotations: interrupted; nothing was written.')
    print(f'{args.out}: ' + ', '.join(f'{label} {count}' for label, count in made.images.items()) + ' (images)')
    for note in made.notes:
        print(note)
    if args.layout == 'masks':
        print(f'classes = {("background", *made.images)}')


if __name__ == '__main__':
    main()
