# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""COCO-20i's index masks from ``instances_*.json``: 1..80 in the order of COCO's ids.

COCO's objects overlap and its crowds are regions of many objects, so a label map needs two rules.
Published mask sets differ in them; both are options and are written down beside the masks.
"""

import hashlib
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from mmfss.datasets.input_checks import IGNORE
from mmfss.utils.files import atomic_write_json

from .files import SHOWN, PreparationError, finished_stems, need_space, run_jobs, save_index_png

OVERLAP_RULES = ('small', 'last', 'first')
CROWD_RULES = ('ignore', 'object', 'background')
IDENTITY = '.mmfss.json'
BYTES_PER_MASK = 12288  # with the file system's blocks


@dataclass(frozen=True)
class Instances:
    """What a ``instances_*.json`` holds.

    Args:
        names (tuple[str, ...]): Class names in the order of their ids; the label of a class is its place, from 1.
        images (dict[int, tuple[str, int, int]]): (file name, height, width) of each image, by image id.
        objects (dict[int, list[tuple[int, bool, list | dict]]]): By image id, (label, crowd, segmentation) in the order
            of the file.
    """

    names: tuple[str, ...]
    images: dict[int, tuple[str, int, int]]
    objects: dict[int, list[tuple[int, bool, list | dict]]]


def prepare_coco(
    json_file: Path,
    images: Path | None,
    masks: Path,
    *,
    overlap: str = 'small',
    crowd: str = 'ignore',
    names: Sequence[str] | None = None,
    overwrite: bool = False,
    workers: int | None = None,
) -> Instances:
    """Write ``<masks>/<image name>.png`` for every image; after an interruption the same call resumes.

    Args:
        json_file (Path): ``instances_train2014.json`` and the like.
        images (Path, optional): Folder of the images, all of which must be there; None: not looked at.
        masks (Path): Folder to make.
        overlap (str): Which object a pixel of several belongs to: 'small' the one of fewest pixels, 'last' or 'first'
            in the order of the file.
        crowd (str): 'ignore' writes 255 where a crowd and no object is, 'object' takes a crowd for an object of its
            class, 'background' leaves it out.
        names (Sequence[str], optional): The classes that the file must have, in the order of their ids.
        overwrite (bool): Replace masks that were made with other rules or from another file.
        workers (int, optional): Processes, None for one a core.

    Raises:
        PreparationError: When the JSON is not what it should be, or images are missing; nothing is written then.
    """
    for key, value, rules in (('overlap', overlap, OVERLAP_RULES), ('crowd', crowd, CROWD_RULES)):
        if value not in rules:
            raise PreparationError(f'`{key}` is {value!r}; it must be one of {rules}.')
    json_file, masks = Path(json_file), Path(masks)
    instances = read_instances(json_file)
    if names is not None and tuple(names) != instances.names:
        raise PreparationError(
            f'{json_file} has {len(instances.names)} classes ({", ".join(instances.names[:SHOWN])} '
            f'...), not the {len(names)} of COCO. `--any-classes` takes the classes as they are.'
        )
    if images is not None:
        _check_images(instances, json_file, Path(images))
    identity = dict(
        source=json_file.name, sha256=hashlib.sha256(json_file.read_bytes()).hexdigest(), overlap=overlap, crowd=crowd
    )
    need_space(masks, BYTES_PER_MASK * len(instances.images))
    _begin(masks, identity, overwrite)
    there = finished_stems(masks)
    jobs = [
        (masks / f'{Path(name).stem}.png', height, width, instances.objects.get(key, []), overlap, crowd)
        for key, (name, height, width) in instances.images.items()
        if Path(name).stem not in there
    ]
    run_jobs(write_mask, jobs, workers=workers, text=masks.name)
    return instances


def read_instances(path: Path) -> Instances:
    """Read and check an ``instances_*.json``.

    Raises:
        PreparationError: When it is cut off, lacks segmentations, has half a point, names a class twice, or has an
            annotation of a class or image that it does not have.
    """
    if not Path(path).is_file():
        raise PreparationError(f"{path} does not exist. It is in COCO's annotations_trainval archive.")
    try:
        content = json.loads(Path(path).read_bytes())
        categories = sorted(content['categories'], key=lambda category: category['id'])
        names = tuple(category['name'] for category in categories)
        labels = {category['id']: place for place, category in enumerate(categories, 1)}
        images = {
            image['id']: (image['file_name'], int(image['height']), int(image['width'])) for image in content['images']
        }
        annotations = content['annotations']
        keys = [(a['id'], a['image_id'], a['category_id']) for a in annotations]
    except (ValueError, KeyError, TypeError) as error:
        raise PreparationError(
            f'{path} is cut off or no COCO instances file ({type(error).__name__}: {error}). Fetch it again.'
        ) from error
    _no_twice('class', names, path)
    if len(labels) < len(names):
        raise PreparationError(f'{path} gives one id to two classes.')
    _no_twice('image', [Path(name).stem for name, _, _ in images.values()], path)
    if not images or len(images) < len(content['images']):
        raise PreparationError(f'{path} has no images, or one id for two images.')
    without = [a['id'] for a in annotations if not a.get('segmentation')]
    if without:
        raise PreparationError(
            f'{len(without)} of {len(annotations)} annotations of {path} have no segmentation, the '
            f'first has the id {without[0]}: masks need `instances_*.json`, not boxes or captions.'
        )
    # A list cut off in the middle of a point would be painted without a word.
    odd = [
        a['id']
        for a in annotations
        if isinstance(a['segmentation'], list)
        and any(isinstance(polygon, list) and len(polygon) % 2 for polygon in a['segmentation'])
    ]
    if odd:
        raise PreparationError(
            f'{len(odd)} of {len(annotations)} annotations of {path} have a polygon with an odd '
            f'number of values, the first has the id {odd[0]}: a polygon is x, y, x, y, ... '
            'Fetch the file again, or take the annotation out.'
        )
    for key, image, category in keys:
        if image not in images or category not in labels:
            what, value = ('image', image) if image not in images else ('class', category)
            raise PreparationError(
                f'Annotation {key} of {path} names the {what} {value}, which the file lacks. '
                'Fetch the file again, or take the annotation out.'
            )
    objects = defaultdict(list)
    for annotation in annotations:
        objects[annotation['image_id']].append(
            (labels[annotation['category_id']], bool(annotation.get('iscrowd')), annotation['segmentation'])
        )
    return Instances(names, images, dict(objects))


def paint_objects(
    height: int, width: int, objects: Sequence, *, overlap: str = 'small', crowd: str = 'ignore'
) -> np.ndarray:
    """The label map (h, w) uint8 of an image; objects are (label, crowd, segmentation), see :func:`prepare_coco`.

    Raises:
        PreparationError: When a segmentation is neither polygons nor RLE, or an RLE of another size.
    """
    shapes = [(label, is_crowd, decode(segmentation, height, width)) for label, is_crowd, segmentation in objects]
    solid = [(label, shape) for label, is_crowd, shape in shapes if crowd == 'object' or not is_crowd]
    if overlap == 'first':
        solid.reverse()
    elif overlap == 'small':
        solid.sort(key=lambda item: -int(item[1].sum()))  # of equal size, the later lies on top
    labels = np.zeros((height, width), dtype=np.uint8)
    if crowd == 'ignore':
        for _, is_crowd, shape in shapes:
            if is_crowd:
                labels[shape] = IGNORE
    for label, shape in solid:
        labels[shape] = label
    return labels


def decode(segmentation: list | dict, height: int, width: int) -> np.ndarray:
    """Polygons, or an RLE compressed or not, as (h, w) bool. Polygons of fewer than three points are nothing."""
    try:
        if isinstance(segmentation, dict):
            if list(segmentation['size']) != [height, width]:
                raise ValueError(f'its size is {segmentation["size"]}, the image has {[height, width]}')
            rle = segmentation
            if not isinstance(rle['counts'], str | bytes):
                rle = coco_mask.frPyObjects(rle, height, width)
        else:
            # pycocotools takes four numbers for a box.
            polygons = [polygon for polygon in segmentation if len(polygon) >= 6]
            if not polygons:
                return np.zeros((height, width), dtype=bool)
            rle = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
        return coco_mask.decode(rle).astype(bool)
    except Exception as error:  # pycocotools raises plain exceptions
        raise PreparationError(f'a segmentation cannot be read ({error})') from error


def write_mask(job: tuple) -> None:
    """Paint and save one mask; a job is (path, height, width, objects, overlap, crowd)."""
    path, height, width, objects, overlap, crowd = job
    try:
        labels = paint_objects(height, width, objects, overlap=overlap, crowd=crowd)
    except PreparationError as error:
        raise PreparationError(f'image {path.stem}: {error}.') from error
    save_index_png(labels, path)


def _no_twice(what: str, names: Sequence[str], path: Path) -> None:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise PreparationError(f'{path} has the {what} {twice[0]} twice. Names must be unique: correct the file.')


def _check_images(instances: Instances, json_file: Path, folder: Path) -> None:
    if not folder.is_dir():
        raise PreparationError(
            f'The image folder {folder} does not exist. Unpack the images there, or give '
            '`--no-images` to make the masks first.'
        )
    there = {path.name for path in folder.iterdir()}
    listed = [name for name, _, _ in instances.images.values()]
    missing = [name for name in listed if name not in there]
    if missing:
        raise PreparationError(
            f'{len(missing)} of {len(listed)} images that {json_file} names are not in {folder}: '
            f'{", ".join(missing[:SHOWN])} ... The images are unpacked only in part or are those of '
            'another release.'
        )


def _begin(masks: Path, identity: dict, overwrite: bool) -> None:
    """Refuse to mix masks of two rules or files in one folder."""
    note = masks / IDENTITY
    if masks.is_dir() and any(masks.glob('*.png')):
        found = json.loads(note.read_text()) if note.is_file() else 'nobody knows how'
        if found != identity:
            if not overwrite:
                raise PreparationError(
                    f'{masks} holds masks made with other settings ({found}; now {identity}). '
                    '`--overwrite` replaces them.'
                )
            shutil.rmtree(masks)
    masks.mkdir(parents=True, exist_ok=True)
    atomic_write_json(identity, note)
