# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""From an annotation of any format to the mask of one label in one image."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import PurePosixPath

import numpy as np

from mmfss.utils.wording import listed

from .errors import AnnotationError
from .kinds import read_content, read_file
from .objects import AnnotatedImage, AnnotationFile, choose_label


def read_annotation(
    source: str | PathLike | Mapping, image_name: str | None, size: tuple[int, int], label: str | None = None
) -> np.ndarray:
    """The mask of one label in one image; several objects of the label are united.

    Args:
        source (str | PathLike | Mapping): Path of a labelme, COCO, YOLO, CVAT, Pascal VOC or ``.npy`` file or of an
            index image; or a COCO annotation, an RLE, or a file's content in memory.
        image_name (str, optional): File name of the image, by which it is found in files of many images; None where it
            has none.
        size (tuple[int, int]): Height and width of the image, upright.
        label (str, optional): Name (or index) of the class; None takes the only one.

    Returns:
        np.ndarray: (H, W) uint8: 0 background, 1 object, 255 left out.

    Raises:
        FileNotFoundError: When there is no such file.
        AnnotationError: When the file is of no known kind or damaged, does not know the image, was made for another
            size, or leaves open which label is meant; names file, reason and cure.
    """
    if isinstance(source, Mapping):
        file = read_content(source, f'the annotation of {image_name or "the image"}')
    else:
        file = read_file(source)
    image = find_image(file, image_name)
    check_size(image, size, file.path, image_name)
    many = f', image {image.name},' if len(file.images) > 1 else ''
    chosen = choose_label(image.labels, file.names, label, f'{file.path}{many}')
    mask = image.mask(chosen, size, file.path)
    if not (mask == 1).any():
        raise AnnotationError(
            f'{file.path}{many} marks no pixel with the label {chosen!r}: its objects are smaller than a pixel (or '
            'given as shares of the size, not in pixels), or all left out '
            '(crowds). Mark the object, or leave this support out.'
        )
    return mask


def find_image(file: AnnotationFile, image_name: str | None) -> AnnotatedImage:
    """The image of a file that is meant: the one whose name, with as many folders as possible, ends alike.

    Args:
        file (AnnotationFile): Of any format.
        image_name (str, optional): Path or name of the image.

    Raises:
        AnnotationError: When there is none or several.
    """
    images = file.images
    if len(images) == 1 and (image_name is None or images[0].name is None or file.kind not in ('COCO', 'CVAT')):
        return images[0]  # a file for one image, wherever that lies now
    if image_name is None:
        raise AnnotationError(
            f'{file.path} knows {len(images)} images; which one is meant is told by the file name. Give '
            'the image as a path.'
        )
    wanted = _parts(image_name)
    names = [_parts(image.name) for image in images]
    exact = [(common_ending(wanted, parts), i) for i, parts in enumerate(names) if parts[-1] == wanted[-1]]
    if not exact:  # the tool wrote another suffix
        bare = _bare(wanted)
        exact = [
            (common_ending(bare, _bare(parts)), i) for i, parts in enumerate(names) if _bare(parts)[-1] == bare[-1]
        ]
    if not exact:
        raise AnnotationError(
            f'{file.path} knows no image {wanted[-1]}; it has {listed([image.name for image in images], 5)}. Give the '
            'file that was made for this image, or rename the image to what the file has.'
        )
    best = max(common for common, _ in exact)
    found = [i for common, i in exact if common == best]
    if len(found) > 1:
        raise AnnotationError(
            f'{file.path} knows {len(found)} images that {image_name} may be: '
            f'{listed([images[i].name for i in found], 5)}. Give the image by a path with the folders of the file.'
        )
    return images[found[0]]


def check_size(image: AnnotatedImage, size: tuple[int, int], path: str, image_name: str | None) -> None:
    """Refuse an annotation of an image of another size.

    Raises:
        AnnotationError: When they differ; names both sizes and what may be the reason.
    """
    if image.size is None or tuple(image.size) == tuple(size):
        return
    turned = tuple(image.size) == tuple(size)[::-1]
    why = (
        'The sides are swapped: the camera noted a rotation (EXIF) that the annotation tool did not apply. Save the '
        'image upright, without the note, and annotate that.'
        if turned
        else 'Annotate the image at the size at which you use it, or give the one that was annotated.'
    )
    raise AnnotationError(
        f'{path} was made for an image of {image.size[1]}x{image.size[0]} pixels, {image_name or "the image"} is '
        f'{size[1]}x{size[0]}. {why}'
    )


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(str(name).replace('\\', '/')).parts or ('',)


def _bare(parts: tuple[str, ...]) -> tuple[str, ...]:
    return (*parts[:-1], parts[-1].rsplit('.', 1)[0])


def common_ending(first: Sequence[str], second: Sequence[str]) -> int:
    """How many parts of two paths are equal at their ends."""
    count = 0
    for a, b in zip(reversed(first), reversed(second), strict=False):
        if a != b:
            break
        count += 1
    return count
