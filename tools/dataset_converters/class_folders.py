#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Folders of classes, CLASS/K.jpg with CLASS/K.png, out of PASCAL VOC or COCO: what folder_benchmark.py runs on.

    python tools/dataset_converters/class_folders.py COCO20iDataset --data-root data/coco --out data/coco_folders \
        --without-pascal --min-share 0.05 --min-images 6

An image belongs to every class that covers a share of it. Masks are 255 where the class is, else 0; an image of which
more than a twentieth is void is left out.
"""

import argparse
import shutil
import sys
from pathlib import Path

import mmcv
import numpy as np
from PIL import Image
from tqdm import tqdm

from mmfss.datasets import COCO20iDataset, FewShotSegDataset, Pascal5iDataset
from mmfss.utils.files import atomic_path
from mmfss.utils.plain_errors import plain_errors

DATASETS = {kind.__name__: kind for kind in (Pascal5iDataset, COCO20iDataset)}
IGNORE, MAX_VOID = 255, 0.05
Row = tuple[str, np.ndarray, int]  # image path, mask (H, W) bool, class id
# COCO's names of PASCAL VOC's classes where they differ.
PASCAL_IN_COCO = dict(
    airplane='aeroplane',
    motorcycle='motorbike',
    couch='sofa',
    tv='tvmonitor',
    **{'dining table': 'diningtable', 'potted plant': 'pottedplant'},
)


def wanted_classes(names: tuple[str, ...], without_pascal: bool) -> dict[int, str]:
    """Class ids and names, background left out, and PASCAL VOC's where that is asked for."""
    known = set(Pascal5iDataset.METAINFO['classes']) if without_pascal else set()
    found = dict(enumerate(names))
    return {i: name for i, name in found.items() if i and PASCAL_IN_COCO.get(name, name) not in known}


def find_images(
    data: FewShotSegDataset, classes: dict[int, str], min_share: float
) -> list[tuple[str, np.ndarray, int]]:
    """A row for every image and class of a data set that is shown well."""
    found = []
    for place in tqdm(range(len(data)), desc=data.list_name, unit='image', leave=False):
        info = data.get_data_info(place)
        labels = mmcv.imread(info['seg_map_path'], 'unchanged', backend='pillow')
        if (labels == IGNORE).mean() > MAX_VOID:
            continue
        for class_id in set(np.unique(labels).tolist()) & classes.keys():
            mask = labels == class_id
            if mask.mean() >= min_share:
                found.append((info['img_path'], mask, class_id))
    return found


def write_folders(out: Path, rows: list[Row], classes: dict[int, str], min_images: int) -> dict:
    """Write the folders of the classes with images enough; their numbers of images."""
    counts = {}
    for class_id, name in classes.items():
        own = [(path, mask) for path, mask, other in rows if other == class_id]
        if len(own) < min_images:
            continue
        folder = out / name.replace(' ', '_')
        folder.mkdir(parents=True)
        for number, (path, mask) in enumerate(own, 1):
            shutil.copyfile(path, folder / f'{number}.jpg')
            with atomic_path(folder / f'{number}.png', keep_suffix=True) as file:
                Image.fromarray(mask.astype(np.uint8) * 255).save(file)
        counts[name] = len(own)
    return counts


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The options of this tool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('dataset', choices=DATASETS)
    parser.add_argument('--data-root', required=True, help='where the data set is')
    parser.add_argument('--out', type=Path, required=True, help='folder to make')
    parser.add_argument('--without-pascal', action='store_true', help="leave out PASCAL VOC's 20 classes")
    parser.add_argument('--min-share', type=float, default=0.05, help='of an image that a class covers (%(default)s)')
    parser.add_argument('--min-images', type=int, default=6, help='of a class (%(default)s)')
    return parser.parse_args(argv)


@plain_errors('class_folders')
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        if args.out.exists() and any(args.out.iterdir()):
            raise ValueError(f'{args.out} is not empty: choose another --out')
        lists = {}
        if args.dataset == 'Pascal5iDataset':
            lists = dict(train=dict(ann_file='ImageSets/Segmentation/train.txt'))
            lists['val'] = dict(ann_file='ImageSets/Segmentation/val.txt')
        kind, rows = DATASETS[args.dataset], []
        for phase in ('train', 'val'):
            data = kind(data_root=args.data_root, phase=phase, image_filter='none', **lists.get(phase, {}))
            classes = wanted_classes(data.class_names, args.without_pascal)
            rows += find_images(data, classes, args.min_share)
        counts = write_folders(args.out, rows, classes, args.min_images)
        if not counts:
            raise ValueError(
                f'no class of {args.data_root} has {args.min_images} images of which it covers {args.min_share}: take '
                'a smaller --min-images or --min-share'
            )
    except (OSError, ValueError) as error:
        print(f'class_folders.py: {error}', file=sys.stderr)
        return 1
    print(f'{args.out}: {sum(counts.values())} images of {len(counts)} classes')
    for name, number in counts.items():
        print(f'  {name} {number}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
