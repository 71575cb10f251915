# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""COCO's JSON (``instances_*.json``, exports of many tools, our own ``annotations.json``): its parts, checked."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import AnnotationError, finite_numbers
from .segmentation import MAX_PIXELS, Segmentation, read_segmentation

WITHOUT_RULES = ('refuse', 'skip', 'box')
_FLAGS = {'0': False, '1': True, 'false': False, 'true': True, '': False}


@dataclass(frozen=True)
class CocoFile:
    """What a file in COCO's format lists; the segmentations are not looked at yet.

    Args:
        path (str): Of the file, for errors.
        names (tuple[str, ...]): Class names in the order of their ids.
        labels (dict[Any, int]): Place of a class by its id, from 1.
        images (dict[Any, tuple[str, int | None, int | None]]): By id, (file name as it stands, height, width); sizes
            are None where the file has none.
        annotations (list[dict]): As they stand, in the order of the file.
    """

    path: str
    names: tuple[str, ...]
    labels: dict[Any, int]
    images: dict[Any, tuple[str, int | None, int | None]]
    annotations: list[dict] = field(repr=False)


def read_coco(content: Any, path: Any, *, sizes: bool = False) -> CocoFile:
    """Check the lists of a file and how they refer to each other.

    Args:
        content (Any): The parsed JSON.
        path (Any): Of the file, for errors.
        sizes (bool): Refuse images without height and width.

    Raises:
        AnnotationError: When a list or key is missing, something comes twice, or an annotation names what is not there.
    """
    try:
        categories = sorted(content['categories'], key=lambda category: category['id'])
        names = tuple(str(category['name']).strip() for category in categories)
        labels = {category['id']: place for place, category in enumerate(categories, 1)}
        images = {image['id']: (str(image['file_name']), *_size(image, path, sizes)) for image in content['images']}
        annotations = list(content['annotations'])
        keys = [(name_of(a, i), a['image_id'], a['category_id']) for i, a in enumerate(annotations)]
        known = [(key, image, category, image in images, category in labels) for key, image, category in keys]
    except AnnotationError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AnnotationError(
            f'{path} is cut off or no COCO instances file ({type(error).__name__}: {error}). Fetch it again.'
        ) from error
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise AnnotationError(f'{path} has the class {twice[0]} twice. Names must be unique: correct the file.')
    if len(labels) < len(names):
        raise AnnotationError(f'{path} gives one id to two classes. Ids must be unique: correct the file.')
    if not images or len(images) < len(content['images']):
        raise AnnotationError(f'{path} has no images, or one id for two images.')
    for key, image, category, has_image, has_class in known:
        if not (has_image and has_class):
            what, value = ('class', category) if has_image else ('image', image)
            raise AnnotationError(
                f'Annotation {key} of {path} names the {what} {value}, which the file lacks. '
                'Fetch the file again, or take the annotation out.'
            )
    return CocoFile(str(path), names, labels, images, annotations)


def _size(image: Mapping, path: Any, needed: bool) -> tuple[int | None, int | None]:
    if image.get('height') is None and image.get('width') is None and not needed:
        return None, None
    try:
        size = finite_numbers([image['height'], image['width']], 'the size')
    except AnnotationError as error:
        raise AnnotationError(
            f'The image {image["file_name"]} of {path} has no size: {error}. Correct the file.'
        ) from error
    if (size < 1).any() or (size != size.round()).any() or size.prod() > MAX_PIXELS:
        raise AnnotationError(
            f'The image {image["file_name"]} of {path} has the height {image["height"]} and the width '
            f'{image["width"]}, which no image has. Correct the file.'
        )
    return int(size[0]), int(size[1])


def name_of(annotation: Mapping, place: int) -> str:
    """How errors call an annotation: its id, else its place in the file."""
    return str(annotation['id']) if annotation.get('id') is not None else f'number {place + 1} (without id)'


def is_crowd(annotation: Mapping) -> bool:
    """COCO's flag, also where a tool wrote it as a text.

    Raises:
        AnnotationError: When it is neither yes nor no.
    """
    value = annotation.get('iscrowd')
    value = _FLAGS.get(value.strip().lower(), value) if isinstance(value, str) else value
    if value is None or (isinstance(value, (bool, int, float)) and value in (0, 1)):
        return bool(value)
    raise AnnotationError(f'its `iscrowd` is {value!r}; it is 0 or 1')


def region_of(annotation: Mapping, height: int, width: int, without: str = 'refuse') -> Segmentation | None:
    """The region of an annotation, checked.

    Args:
        annotation (Mapping): Of the file.
        height (int): Of its image.
        width (int): Of its image.
        without (str): What to do with an annotation that has no segmentation: 'refuse' it, 'skip' it (None is
            returned), or take its 'box'.

    Raises:
        AnnotationError: When it cannot be read; the message does not name the annotation.
    """
    segmentation = annotation.get('segmentation')
    if not has_segmentation(annotation):
        if without == 'skip':
            return None
        if without == 'box':
            return box_region(annotation.get('bbox'), height, width)
        raise AnnotationError('it has no segmentation')
    return read_segmentation(segmentation, height, width)


def has_segmentation(annotation: Mapping) -> bool:
    """Whether there is a segmentation, be it right or wrong; ``[]``, ``[[]]`` and ``{}`` are none."""
    value = annotation.get('segmentation')
    return not (value is None or value in ([], {}, '', [[]], [{}]))


def box_region(box: Any, height: int, width: int) -> Segmentation:
    """The region of COCO's ``bbox``: x, y, width, height."""
    if not isinstance(box, (list, tuple)) or len(box) != 4:
        raise AnnotationError(
            f'it has neither a segmentation nor a box, but {box!r}; a `bbox` is [x, y, width, height]'
        )
    x, y, w, h = finite_numbers(box, 'its box').tolist()
    if w <= 0 or h <= 0:
        raise AnnotationError(f'its box {box} has no area; a `bbox` is [x, y, width, height]')
    return read_segmentation([[x, y, x + w, y, x + w, y + h, x, y + h]], height, width)
