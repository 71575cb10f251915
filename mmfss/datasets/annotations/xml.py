# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""XML: ``CVAT for images 1.1`` (many images; polygons, boxes, ellipses, masks) and Pascal VOC (one image; boxes)."""

from functools import partial
from xml.etree.ElementTree import Element

import numpy as np

from .errors import AnnotationError, finite_numbers
from .objects import AnnotatedImage, AnnotatedObject, AnnotationFile, Painter, box, ellipse, no_area, pasted, polygon

_NO_AREA = ('polyline', 'points', 'cuboid', 'skeleton')


def read_xml(root: Element, path: str) -> AnnotationFile:
    """Objects of an XML file.

    Args:
        root (Element): The parsed XML.
        path (str): Of the file, for errors.

    Raises:
        AnnotationError: When it is neither CVAT's nor VOC's, or a shape's numbers are none.
    """
    if root.tag == 'annotations' and root.find('image') is None and root.find('track') is not None:
        raise AnnotationError(
            f'{path} is CVAT\'s XML for videos (tracks). Export the task as "CVAT for images 1.1", or as COCO.'
        )
    if root.tag == 'annotations':
        return AnnotationFile(path, 'CVAT', tuple(_cvat_image(image, path) for image in root.iter('image')))
    if root.tag == 'annotation':
        return AnnotationFile(path, 'Pascal VOC', (_voc_image(root, path),))
    raise AnnotationError(
        f'{path} is XML of the kind <{root.tag}>; "CVAT for images 1.1" (<annotations>) and Pascal VOC (<annotation>) '
        'are read. Export it as one of these, or as COCO.'
    )


def _number(element: Element, *keys: str) -> list[float]:
    missing = [key for key in keys if key not in element.attrib]
    if missing:
        raise AnnotationError(f'it has no {missing[0]}')
    return finite_numbers([element.attrib[key] for key in keys], f'the {element.tag}').tolist()


def _cvat_image(image: Element, path: str) -> AnnotatedImage:
    name, objects = image.get('name'), []
    for number, shape in enumerate((s for s in image if s.get('label') is not None and s.tag != 'tag'), 1):
        called = f'{shape.tag} {number} of the image {name}'
        try:
            if not shape.get('label').strip():
                raise AnnotationError('it has no label')
            objects.append(AnnotatedObject(shape.get('label'), called, _cvat_painter(shape)))
        except AnnotationError as error:
            raise AnnotationError(f'{called} in {path}: {error}. Export the file again.') from error
    try:
        height, width = _number(image, 'height', 'width')
    except AnnotationError as error:
        raise AnnotationError(f'The image {name} in {path}: {error}. Export the file again.') from error
    return AnnotatedImage(name, (int(height), int(width)), tuple(objects))


def _cvat_painter(shape: Element) -> Painter:
    if shape.tag in _NO_AREA:
        return no_area(shape.tag)
    turned = finite_numbers([shape.get('rotation') or 0], 'the rotation')[0]
    if shape.tag == 'polygon':
        words = [pair.split(',') for pair in shape.get('points', '').split(';') if pair.strip()]
        if any(len(pair) != 2 for pair in words):
            raise AnnotationError('its points are not "x,y;x,y;..."')
        return polygon(finite_numbers([value for pair in words for value in pair], 'the polygon'))
    if shape.tag == 'box':
        return box(*_number(shape, 'xtl', 'ytl', 'xbr', 'ybr'), turned)
    if shape.tag == 'ellipse':
        return ellipse(*_number(shape, 'cx', 'cy', 'rx', 'ry'), turned)
    if shape.tag == 'mask':
        left, top, width, height = (int(v) for v in _number(shape, 'left', 'top', 'width', 'height'))
        runs = finite_numbers((shape.get('rle') or '').split(','), 'the RLE')
        if (runs < 0).any() or (runs != runs.round()).any() or runs.sum() != width * height or width < 1:
            raise AnnotationError(
                f'the runs of its RLE add up to {runs.sum():g} pixels, its box of {width}x{height} has {width * height}'
            )
        return partial(_paint_runs, runs.astype(int), (left, top, width, height))
    raise AnnotationError(f'its kind <{shape.tag}> is not known')


def _paint_runs(runs: np.ndarray, box: tuple[int, int, int, int], height: int, width: int) -> np.ndarray:
    left, top, w, h = box
    if left < 0 or top < 0 or left + w > width or top + h > height:  # before anything of that size is made
        raise AnnotationError(
            f'its mask of {w}x{h} pixels at ({left}, {top}) reaches outside of the image of {width}x{height} pixels'
        )
    # Row after row within the box, background first: not COCO's order, which pycocotools decodes.
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return pasted(flat.reshape(h, w), left, top)(height, width)


def _voc_image(root: Element, path: str) -> AnnotatedImage:
    objects = []
    for number, item in enumerate(root.iter('object'), 1):
        label, called = (item.findtext('name') or '').strip(), f'object {number}'
        try:
            if not label:
                raise AnnotationError('it has no name')
            objects.append(AnnotatedObject(label, called, _voc_painter(item)))
        except AnnotationError as error:
            raise AnnotationError(f'{called} of {path}: {error}. Export the file again.') from error
    size = None
    if root.find('size/height') is not None:
        try:
            height, width = finite_numbers([root.findtext('size/height'), root.findtext('size/width')], 'the size')
        except AnnotationError as error:
            raise AnnotationError(f'{path}: {error}. Export the file again.') from error
        size = (int(height), int(width)) if height and width else None  # some tools write 0
    name = (root.findtext('filename') or '').strip() or None
    return AnnotatedImage(name, size, tuple(objects))


def _voc_painter(item: Element) -> Painter:
    outline = item.find('polygon')
    if outline is not None:
        # <pt><x>..</x><y>..</y></pt> of the first LabelMe, <x1>..</x1><y1>..</y1> of Roboflow
        values = [v.text for v in outline.iter() if v.tag.rstrip('0123456789') in ('x', 'y') and v.text]
        return polygon(finite_numbers(values, 'the polygon'))
    found = item.find('bndbox')
    if found is None:
        raise AnnotationError('it has neither a box (bndbox) nor a polygon')
    x1, y1, x2, y2 = finite_numbers([found.findtext(k) for k in ('xmin', 'ymin', 'xmax', 'ymax')], 'the box').tolist()
    if x2 < x1 or y2 < y1:
        raise AnnotationError('its box ends before it begins')
    return box(x1 - 1, y1 - 1, x2, y2)  # VOC counts pixels from 1, and the last one belongs to the box
