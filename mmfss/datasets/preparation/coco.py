# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""COCO-20i's index masks from ``instances_*.json``: 1..80 in the order of COCO's ids.

COCO's objects overlap and its crowds are regions of many objects, so a label map needs two rules.
Published mask sets differ in them; both are options and are written down beside the masks.
"""

import hashlib
import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from mmfss.datasets.annotations.coco import (
    WITHOUT_RULES,
    has_segmentation,
    is_crowd,
    name_of,
    read_coco,
    region_of,
)
from mmfss.datasets.annotations.errors import AnnotationError
from mmfss.datasets.annotations.loading import load_json, relative_name, stem
from mmfss.datasets.annotations.segmentation import SLACK, Segmentation, looks_normalised, read_segmentation
from mmfss.datasets.input_checks import IGNORE
from mmfss.utils.files import atomic_write_json

from .files import SHOWN, PreparationError, finished_stems, need_space, run_jobs, save_index_png

OVERLAP_RULES = ('small', 'last', 'first')
CROWD_RULES = ('ignore', 'object', 'background')
IDENTITY = '.mmfss.json'
MAX_LABELS = 254
BYTES_PER_MASK = 12288  # with the file system's blocks


@dataclass(frozen=True)
class Instances:
    """What a ``instances_*.json`` holds.

    Args:
        names (tuple[str, ...]): Class names in the order of their ids; the label of a class is its place, from 1.
        images (dict[int, tuple[str, int, int]]): (file name, height, width) of each image, by image id.
        objects (dict[int, list[tuple[int, bool, Segmentation]]]): By image id, (label, crowd, region) in the order of
            the file.
        notes (tuple[str, ...]): What a user should know: annotations that were left out, cut or replaced.
    """

    names: tuple[str, ...]
    images: dict[int, tuple[str, int, int]]
    objects: dict[int, list[tuple[int, bool, Segmentation]]]
    notes: tuple[str, ...] = ()


def prepare_coco(
    json_file: Path,
    images: Path | None,
    masks: Path,
    *,
    overlap: str = 'small',
    crowd: str = 'ignore',
    names: Sequence[str] | None = None,
    without: str = 'refuse',
    overwrite: bool = False,
    workers: int | None = None,
) -> Instances:
    """Write ``<masks>/<image name>.png``, folders of the name kept; after an interruption the same call resumes.

    Args:
        json_file (Path): ``instances_train2014.json`` and the like.
        images (Path, optional): Folder of the images, all of which must be there; None: not looked at.
        masks (Path): Folder to make.
        overlap (str): Which object a pixel of several belongs to: 'small' the one of fewest pixels, 'last' or 'first'
            in the order of the file.
        crowd (str): 'ignore' writes 255 where a crowd and no object is, 'object' takes a crowd for an object of its
            class, 'background' leaves it out.
        names (Sequence[str], optional): The classes that the file must have, in the order of their ids.
        without (str): What becomes of annotations without a segmentation, see :func:`read_instances`.
        overwrite (bool): Replace masks that were made with other rules or from another file.
        workers (int, optional): Processes, None for one a core.

    Raises:
        PreparationError: When the JSON is not what it should be, or images are missing; nothing is written then.
    """
    for key, value, rules in (('overlap', overlap, OVERLAP_RULES), ('crowd', crowd, CROWD_RULES)):
        if value not in rules:
            raise PreparationError(f'`{key}` is {value!r}; it must be one of {rules}.')
    json_file, masks = Path(json_file), Path(masks)
    instances = read_instances(json_file, without)
    if names is not None and tuple(names) != instances.names:
        raise PreparationError(
            f'{json_file} has {len(instances.names)} classes ({", ".join(instances.names[:SHOWN])} '
            f'...), not the {len(names)} of COCO. `--any-classes` takes the classes as they are.'
        )
    names_below = {key: name for key, (name, _, _) in instances.images.items()}
    if images is not None:
        names_below = _find_images(instances, json_file, Path(images))
    identity = dict(
        source=json_file.name, sha256=hashlib.sha256(json_file.read_bytes()).hexdigest(), overlap=overlap, crowd=crowd
    )
    if without != 'refuse':  # else as it always was: masks that were begun go on
        identity['without_segmentation'] = without
    need_space(masks, BYTES_PER_MASK * len(instances.images))
    _begin(masks, identity, overwrite)
    there = finished_stems(masks)
    jobs = [
        (masks / f'{stem(names_below[key])}.png', height, width, instances.objects.get(key, []), overlap, crowd)
        for key, (_, height, width) in instances.images.items()
        if stem(names_below[key]) not in there
    ]
    run_jobs(write_mask, jobs, masks, workers=workers, name_of=lambda job: str(job[0]))
    return instances


def read_instances(path: Path, without: str = 'refuse') -> Instances:
    """Read and check an ``instances_*.json``: lists, names, and every segmentation, before any work.

    Args:
        path (Path): The file.
        without (str): What becomes of annotations without a segmentation: 'refuse' the file, 'skip' them, or fill
            their 'box'.

    Raises:
        PreparationError: When it is cut off, lacks segmentations, has coordinates or runs that cannot be those of its
            image, names something twice, or has an annotation of a class or image that it does not have.
    """
    if without not in WITHOUT_RULES:
        raise PreparationError(f'`without` is {without!r}; it must be one of {WITHOUT_RULES}.')
    if not Path(path).is_file():
        raise PreparationError(f"{path} does not exist. It is in COCO's annotations_trainval archive.")
    try:
        coco = read_coco(load_json(path), path, sizes=True)
        images = {key: (relative_name(name, path), *size) for key, (name, *size) in coco.images.items()}
    except AnnotationError as error:
        raise PreparationError(str(error)) from error
    if len(coco.names) > MAX_LABELS:
        raise PreparationError(
            f'{path} has {len(coco.names)} classes; masks of 8 bits hold {MAX_LABELS} besides background and 255. '
            'Take the classes that are not needed out of the file, or make class folders of it, of any number of '
            'classes: tools/dataset_converters/annotations.py.'
        )
    twice = [name for name, times in Counter(stem(name) for name, _, _ in images.values()).items() if times > 1]
    if twice:
        raise PreparationError(f'{path} has the image {twice[0]} twice. Names must be unique: correct the file.')
    bare = [a for a in coco.annotations if not has_segmentation(a)]
    if bare and without == 'refuse':
        raise PreparationError(
            f'{len(bare)} of {len(coco.annotations)} annotations of {path} have no segmentation, the first has the id '
            f'{bare[0].get("id")}: masks need `instances_*.json`, not boxes or captions. `--without-segmentation skip` '
            'leaves them out, `--without-segmentation box` fills their boxes.'
        )
    objects, wrong, tiny, beyond, regions = defaultdict(list), [], [], [], []
    for place, annotation in enumerate(coco.annotations):
        _, height, width = images[annotation['image_id']]
        try:
            region = region_of(annotation, height, width, without)
            crowd = is_crowd(annotation)
        except AnnotationError as error:
            wrong.append((name_of(annotation, place), error))
            continue
        if region is None:
            continue
        regions.append(region)
        tiny += [name_of(annotation, place)] * bool(region.dropped)
        beyond += [name_of(annotation, place)] * (region.overhang > SLACK)
        objects[annotation['image_id']].append((coco.labels[annotation['category_id']], crowd, region))
    if wrong:
        raise PreparationError(
            f'{len(wrong)} of {len(coco.annotations)} annotations of {path} cannot be read, the first has the id '
            f'{wrong[0][0]}: {wrong[0][1]}. Correct the file, or take the annotation out.'
        )
    if looks_normalised(regions):
        raise PreparationError(
            f'All coordinates of {path} lie within 0 and 1: they are shares of the size; COCO has pixels. Export '
            'the file again with coordinates in pixels.'
        )
    without_ids = [a.get('id') for a in bare]
    notes = [
        f'{len(ids)} annotations {text}, the first has the id {ids[0]}'
        for ids, text in (
            (
                without_ids,
                f'have no segmentation; {"they are left out" if without == "skip" else "their box is filled"}',
            ),
            (tiny, 'have a polygon of fewer than three points, which covers nothing'),
            (beyond, 'reach outside of their image and are cut at its edge'),
        )
        if ids
    ]
    return Instances(coco.names, images, dict(objects), tuple(notes))


def paint_objects(
    height: int, width: int, objects: Sequence, *, overlap: str = 'small', crowd: str = 'ignore'
) -> np.ndarray:
    """The label map (h, w) uint8 of an image; objects are (label, crowd, segmentation), see :func:`prepare_coco`.

    Raises:
        PreparationError: When a segmentation cannot be read, see :func:`mmfss.datasets.annotations.read_segmentation`.
    """
    shapes = [(label, is_crowd, _decode(region, height, width)) for label, is_crowd, region in objects]
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


def _decode(region: Segmentation | list | dict, height: int, width: int) -> np.ndarray:
    if not isinstance(region, Segmentation):
        try:
            region = read_segmentation(region, height, width)
        except AnnotationError as error:
            raise PreparationError(f'a segmentation cannot be read: {error}') from error
    return region.mask()


def write_mask(job: tuple) -> None:
    """Paint and save one mask; a job is (path, height, width, objects, overlap, crowd)."""
    path, height, width, objects, overlap, crowd = job
    try:
        labels = paint_objects(height, width, objects, overlap=overlap, crowd=crowd)
    except PreparationError as error:
        raise PreparationError(f'image {path.stem}: {error}.') from error
    save_index_png(labels, path)


def _find_images(instances: Instances, json_file: Path, folder: Path) -> dict:
    """Name below ``folder`` of each image, by its id.

    Tools name images with folders (``images/a.jpg``) that the user may have left out when he copied them.
    """
    if not folder.is_dir():
        raise PreparationError(
            f'The image folder {folder} does not exist. Unpack the images there, or give '
            '`--no-images` to make the masks first.'
        )
    found, missing = {}, []
    there = {Path(base, name).relative_to(folder).as_posix() for base, _, names in os.walk(folder) for name in names}
    for key, (name, _, _) in instances.images.items():
        parts = PurePosixPath(name).parts
        endings = ['/'.join(parts[i:]) for i in range(len(parts))]
        place = next((ending for ending in endings if ending in there), None)
        if place is None:
            missing.append(name)
        else:
            found[key] = place
    if missing:
        raise PreparationError(
            f'{len(missing)} of {len(instances.images)} images that {json_file} names are not in {folder}: '
            f'{", ".join(missing[:SHOWN])} ... The images are unpacked only in part or are those of '
            'another release.'
        )
    twice = [name for name, times in Counter(map(stem, found.values())).items() if times > 1]
    if twice:
        raise PreparationError(
            f'{json_file} names two images with folders of which {folder} holds one alone, {twice[0]}. Give the folder '
            'above it as `--images`, so that the names of the file can be told apart.'
        )
    return found


def _begin(masks: Path, identity: dict, overwrite: bool) -> None:
    """Refuse to mix masks of two rules or files in one folder."""
    note = masks / IDENTITY
    if masks.is_dir() and any(masks.rglob('*.png')):
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
