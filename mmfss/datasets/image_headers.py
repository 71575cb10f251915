# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What is known of an image before it is decoded: whether it is one, how large, and which way up."""

import re
import warnings
from os import PathLike
from pathlib import Path

import cv2
from PIL import Image

from .file_kinds import HEAD, file_kind

EXIF_ORIENTATION = 274
# Not "whatever Pillow knows": some of its decoders start other programs, or read only a preview.
FORMATS = frozenset(
    'JPEG MPO PNG WEBP BMP DIB TIFF GIF PPM JPEG2000 AVIF HEIF TGA ICO DDS SGI PCX ICNS XBM QOI'.split()
)


class CorruptFileError(ValueError):
    """An image or mask that cannot be decoded; the message names the file."""


def check_path(given: str | PathLike, what: str = 'image') -> None:
    """Refuse what is no path of this machine: an empty text, an address of the web.

    Raises:
        ValueError: When it is one of these.
    """
    text = str(given)
    if not text.strip():
        raise ValueError(f'The path of the {what} is empty. Give a file name.')
    if re.match(r'[A-Za-z][A-Za-z0-9+.-]+:/', text) and not Path(text).exists():
        raise ValueError(f'{text} is an address: nothing is fetched from the web. Download the {what}, give its path.')


def check_file(path: str | PathLike) -> None:
    """Refuse, by its first bytes, a file that is missing, no image, or huge; it is not decoded.

    Raises:
        FileNotFoundError: When there is no such file.
        CorruptFileError: When it is no image.
        ValueError: When it has more pixels than ``PIL.Image.MAX_IMAGE_PIXELS`` allows.
    """
    check_path(path)
    if not Path(path).is_file():
        kind = 'It is a folder: give a file.' if Path(path).is_dir() else 'Check the path.'
        raise FileNotFoundError(f'There is no image {path}. {kind}')
    with open(path, 'rb') as stream:
        head = stream.read(HEAD)
        refuse_other_kinds(head, str(path))
        stream.seek(0)
        opened = open_picture(stream, f'The image {path}', str(path))
        size = opened.size if opened is not None else None
    limit = Image.MAX_IMAGE_PIXELS
    if size is None and not cv2.haveImageReader(str(path)):
        raise CorruptFileError(
            f'The image {path} cannot be read: it is no image, or cut off. Fetch or save it again, or take it out.'
        )
    if size is not None and limit and size[0] * size[1] > limit:
        raise ValueError(_too_large(f'The image {path}', size))


def refuse_other_kinds(head: bytes, path: str) -> None:
    """Refuse a file that is known to be something else than a picture.

    Args:
        head (bytes): Its first bytes.
        path (str): Its name.

    Raises:
        CorruptFileError: When it is; names what it is and the cure.
    """
    found = file_kind(head, path)
    if found is not None and not (found[0].startswith('a HEIC') and 'HEIF' in Image.OPEN):
        raise CorruptFileError(f'The image {path} cannot be read: it is no image but {found[0]}. {found[1]}')


def open_picture(stream, name: str, path: str = '') -> Image.Image | None:
    """The header of a picture; None where Pillow does not know it.

    Raises:
        CorruptFileError: When it is of a kind that is not read.
        ValueError: When it is huge.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)
            opened = Image.open(stream)
    except Image.DecompressionBombError:
        raise ValueError(_too_large(name, None)) from None
    except Exception:  # each decoder raises its own kind
        return None
    if opened.format not in FORMATS and opened.format is not None:
        raise CorruptFileError(f'{name} is a picture of the kind {opened.format}, which is not read. Save it as PNG.')
    if opened.format == 'TIFF' and _is_raw(opened):
        raise CorruptFileError(
            f"{name} cannot be read: it is no image but a camera's RAW file, of which only a preview would be seen. "
            'Develop it: export it as JPEG or PNG.'
        )
    return opened


def _is_raw(opened: Image.Image) -> bool:
    tags = opened.tag_v2
    # DNGVersion, colour filter array; a preview as first picture that has others inside.
    return 50706 in tags or tags.get(262) in (32803, 34892) or (bool(tags.get(254, 0) & 1) and 330 in tags)


def _too_large(name: str, size: tuple[int, int] | None) -> str:
    limit = Image.MAX_IMAGE_PIXELS
    what = f'{size[0]}x{size[1]} = {size[0] * size[1] / 1e6:.0f}' if size else f'more than {2 * limit / 1e6:.0f}'
    return (
        f'{name} is huge: {what} megapixels, allowed are {limit / 1e6:.0f}. Make it smaller (the network '
        'sees a few hundred pixels a side anyway), cut it into tiles, or, if you trust the file, set '
        'PIL.Image.MAX_IMAGE_PIXELS = None (command line: --max-megapixels N).'
    )


def is_turned(image: Image.Image) -> bool:
    """Whether decoding will swap the sides that an open image claims to have (EXIF)."""
    if image.format == 'TIFF' and image.size != (image.tag_v2.get(256), image.tag_v2.get(257)):
        return False  # newer Pillow has swapped them already
    return image.getexif().get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8)


def upright_size(path: str | PathLike) -> tuple[int, int]:
    """Height and width of an image as it is decoded, from its header alone; raises what Pillow raises."""
    with Image.open(path) as image:
        width, height = image.size
        return (width, height) if is_turned(image) else (height, width)
