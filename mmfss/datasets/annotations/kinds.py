# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Which format a file is of: told by its content, since names lie and many tools share a suffix."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmfss.utils.wording import listed

from .arrays import array_file, read_index_image, read_npy
from .coco import CocoFile, has_segmentation, is_crowd, name_of, read_coco, region_of
from .errors import AnnotationError
from .labelme import read_labelme
from .loading import decode_text, parse_json, parse_xml, read_bytes
from .objects import IGNORE, AnnotatedImage, AnnotatedObject, AnnotationFile
from .segmentation import read_segmentation
from .xml import read_xml
from .yolo import looks_like_yolo, read_yolo

READ = (
    'labelme JSON, COCO JSON (polygons, RLE), YOLO text, CVAT for images 1.1 XML, Pascal VOC XML, .npy arrays and mask '
    'images are read'
)
SUFFIXES = ('.json', '.xml', '.txt', '.npy')  # of files that this package reads, images apart
_REFUSED = ('.npz', '.mat', '.csv', '.geojson', '.yaml', '.yml', '.pkl', '.svg', '.html', '.zip', '.jsonl')
_OTHERS = (  # key of a JSON, what it is of
    ('_via_img_metadata', 'a project of the VGG Image Annotator'),
    ('regions', 'VGG Image Annotator'),
    ('features', 'GeoJSON'),
    ('items', 'Datumaro'),
    ('objects', 'Supervisely or Cityscapes'),
    ('completions', 'Label Studio'),
    ('result', 'Label Studio'),
    ('frames', 'BDD100K or Scalabel'),
    ('answers', 'captions or questions'),
    ('nbformat', 'a notebook'),
)
_START = 4096


def is_image(path: str | Path) -> bool:
    """Whether Pillow knows the file's first bytes."""
    try:
        with Image.open(path):
            return True
    except Image.DecompressionBombError:
        return True
    except Exception:  # each decoder raises its own kind
        return False


def is_annotation(path: str | Path) -> bool:
    """Whether a file is to be read as an annotation and not as an image."""
    path = Path(path)
    if not path.is_file() or is_image(path):
        return False
    if path.suffix.lower() in (*SUFFIXES, *_REFUSED):
        return True
    with open(path, 'rb') as stream:
        start = stream.read(_START)
    text = decode_text(start).lstrip('\ufeff \t\r\n')
    return start.startswith(b'\x93NUMPY') or text[:1] in ('{', '[', '<') or looks_like_yolo(text)


def read_file(path: str | Path, class_names: tuple[str, ...] | None = None) -> AnnotationFile:
    """Read a file of any known format.

    Args:
        path (str | Path): Of the file.
        class_names (tuple[str, ...], optional): Of a YOLO file. Defaults to what lies beside or above it.

    Raises:
        FileNotFoundError: When there is none.
        AnnotationError: When it is damaged, or of another kind: names what it looks like, and what is read.
    """
    name = str(path)
    data = read_bytes(path)
    if not data.strip():
        if Path(path).suffix.lower() == '.txt':
            return read_yolo('', name, class_names)  # an image without objects
        raise AnnotationError(f'{name} is empty. Export it again.')
    if data.startswith(b'\x93NUMPY'):
        return read_npy(path)
    if is_image(path):
        return read_index_image(path)
    if data.startswith(b'PK'):
        raise AnnotationError(f'{name} is an archive (zip or .npz). Unpack it and give the file itself; {READ}.')
    if data.startswith(b'version https://git-lfs'):
        raise AnnotationError(f'{name} is a pointer of Git LFS, not the file. Run `git lfs pull`.')
    text = decode_text(data).lstrip('\ufeff \t\r\n')
    if text[:1] in ('{', '['):
        return read_content(parse_json(data, name), name)
    if text[:14].lower() == '<!doctype html' or text[:5].lower() == '<html':
        raise AnnotationError(f'{name} is a web page, not the file behind it. Fetch it again.')
    if text[:1] == '<':
        return read_xml(parse_xml(data, name), name)
    if looks_like_yolo(text):
        return read_yolo(text, name, class_names)
    raise AnnotationError(f'{name} is of no known kind of annotation; {READ}.')


def read_content(content: Any, path: str) -> AnnotationFile:
    """Read what JSON holds, or what a program has in memory.

    Args:
        content (Any): A labelme or COCO file, a COCO annotation, or an RLE.
        path (str): What errors call it.

    Raises:
        AnnotationError: When it is something else.
    """
    if isinstance(content, Mapping):
        if 'shapes' in content:
            return read_labelme(dict(content), path)
        if 'images' in content and 'annotations' in content and 'categories' in content:
            return _coco_file(content, path)
        if 'counts' in content and 'size' in content:
            return _single(dict(segmentation=content), path)
        if 'segmentation' in content:
            return _single(content, path)
        kind = next((kind for key, kind in _OTHERS if key in content), None)
        seen = f'an object of {listed(sorted(map(str, content)), 8)}'
    elif isinstance(content, list) and content and isinstance(content[0], Mapping):
        kind = next((kind for key, kind in _OTHERS if key in content[0]), None)
        if 'segmentation' in content[0]:
            kind = "a list of COCO's results, without its images and class names"
        elif 'annotations' in content[0]:
            kind = 'Label Studio'
        seen = f'a list of {listed(sorted(map(str, content[0])), 8)}'
    else:
        kind, seen = None, f'a {type(content).__name__}'
    looks = f'looks like {kind}' if kind else f'is {seen}'
    raise AnnotationError(f'{path} {looks}; {READ}. Export it as one of these, such as COCO.')


def _single(annotation: Mapping, path: str) -> AnnotationFile:
    item = AnnotatedObject('object', 'the segmentation', partial(_paint_coco, annotation))
    return AnnotationFile(path, 'RLE', (AnnotatedImage(None, None, (item,)),))


def _coco_file(content: Mapping, path: str) -> AnnotationFile:
    coco: CocoFile = read_coco(content, path)
    objects = {key: [] for key in coco.images}
    for place, annotation in enumerate(coco.annotations):
        name = f'annotation {name_of(annotation, place)}'
        try:
            value = IGNORE if is_crowd(annotation) else 1
        except AnnotationError as error:
            raise AnnotationError(f'{name} of {path}: {error}. Correct the file.') from error
        label = coco.names[coco.labels[annotation['category_id']] - 1]
        paint = partial(_paint_coco, annotation)
        objects[annotation['image_id']].append(
            AnnotatedObject(label, name, paint, value, is_box=not has_segmentation(annotation))
        )
    images = tuple(
        AnnotatedImage(name, None if height is None else (height, width), tuple(objects[key]))
        for key, (name, height, width) in coco.images.items()
    )
    return AnnotationFile(path, 'COCO', images, coco.names)


def _paint_coco(annotation: Mapping, height: int, width: int) -> np.ndarray:
    if 'category_id' not in annotation:  # an RLE or polygons that were given alone
        return read_segmentation(annotation['segmentation'], height, width).mask()
    return region_of(annotation, height, width, 'box').mask()


def read_array(values: np.ndarray, path: str) -> AnnotationFile:
    """An index array in memory, see :func:`mmfss.datasets.annotations.arrays.array_file`."""
    return array_file(values, path, 'array')
