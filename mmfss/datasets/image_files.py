# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The one door for images: files, bytes, arrays and PIL images of any kind to (H, W, 3) uint8, upright and opaque.

Data sets, inferencer, demos and tools all come through here, so that a file is read alike wherever it is given, or
refused with its name, the reason and the cure.
"""

import io
import re
import warnings
from os import PathLike
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from mmfss.utils.notices import tell

from .bit_depth import to_8_bit
from .file_kinds import HEAD, file_kind

JPEG_START, JPEG_SCAN, JPEG_END = b'\xff\xd8', b'\xff\xda', b'\xff\xd9'
_PNG = b'\x89PNG\r\n\x1a\n'
# Not "whatever Pillow knows": some of its decoders start other programs, or read only a preview.
FORMATS = frozenset(
    'JPEG MPO PNG WEBP BMP DIB TIFF GIF PPM JPEG2000 AVIF HEIF TGA ICO DDS SGI PCX ICNS XBM QOI'.split()
)
NEUTRAL = 128  # grey that shines through transparent pixels


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
        _refuse_other_kinds(head, str(path))
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


def _refuse_other_kinds(head: bytes, path: str) -> None:
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


def decode_image(data: bytes, path: str) -> np.ndarray:
    """Decode a file, upright.

    Args:
        data (bytes): The whole file.
        path (str): Names it in messages.

    Returns:
        np.ndarray: (H, W, 3) uint8 BGR. Of JPEG and of 8-bit PNG without transparency exactly what OpenCV gives.

    Raises:
        CorruptFileError: When it is cut off, no image, or of values that are no brightness.
        ValueError: When it is huge.
    """
    if data.startswith(JPEG_START):
        if data.rfind(JPEG_END) <= data.rfind(JPEG_SCAN):
            raise CorruptFileError(_corrupt(path, 'the end of the JPEG is missing'))
        plain = True
    else:
        plain = _plain_png(data)
    if plain and (image := _opencv(data, cv2.IMREAD_COLOR)) is not None:
        return image
    _refuse_other_kinds(data[:HEAD], path)
    name = f'The image {path}'
    opened = open_picture(io.BytesIO(data), name, path)
    try:
        if opened is not None:
            return np.ascontiguousarray(pil_rgb(opened, name)[..., ::-1])
    except (CorruptFileError, Image.DecompressionBombError):
        raise
    except ValueError as error:
        raise CorruptFileError(str(error)) from error
    except Exception as error:  # each decoder raises its own kind; OpenCV may still know it
        reason = str(error)
    else:
        reason = 'it cannot be decoded'
    values = _opencv(data, cv2.IMREAD_UNCHANGED)
    if values is None:
        raise CorruptFileError(_corrupt(path, reason))
    try:
        order = [2, 1, 0, 3][: values.shape[2]] if values.ndim == 3 and values.shape[2] in (3, 4) else slice(None)
        return np.ascontiguousarray(array_rgb(values[..., order] if values.ndim == 3 else values, name)[..., ::-1])
    except ValueError as error:
        raise CorruptFileError(str(error)) from error


def _corrupt(path: str, reason: str) -> str:
    return f'The image {path} is corrupt ({reason}). Fetch it again or take it out of the list.'


def _plain_png(data: bytes) -> bool:
    """Whether it is a PNG of up to 8 bits, without alpha, transparent colours or frames."""
    if not data.startswith(_PNG) or len(data) < 33 or data[24] > 8 or data[25] not in (0, 2, 3):
        return False
    head = data[33 : data.find(b'IDAT')]
    return b'tRNS' not in head and b'acTL' not in head


def _opencv(data: bytes, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


def pil_rgb(image: Image.Image, name: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a PIL image, upright, transparent pixels over neutral grey.

    Raises:
        CorruptFileError: When it was opened from a file that cannot be decoded.
        ValueError: When its values are no brightness.
    """
    tell_pages(image, name)
    wide = wide_colours(image)
    try:
        image = upright(image)
        if image.mode.startswith(('I', 'F')):
            return array_rgb(np.asarray(image), name)
        alpha = None
        if image.has_transparency_data:
            image = image.convert('RGBA')
            alpha = np.asarray(image)[..., 3]
        colours = to_8_bit(wide, name) if wide is not None else np.asarray(image.convert('RGB'))
    except OSError as error:
        place = getattr(image, 'filename', '')
        raise CorruptFileError(
            f'{f"The image {place}" if place else name} cannot be decoded ({error}). Fetch or save it again.'
        ) from error
    return _opaque(to_8_bit(colours, name), alpha, name)


def tell_pages(image: Image.Image, name: str) -> None:
    """Say that a file of several pages or frames is used by its first one."""
    if image.format in (None, 'JPEG', 'MPO'):  # a phone's JPEG may carry a second, hidden picture
        return
    try:
        frames = getattr(image, 'n_frames', 1)
    except Exception:  # a broken chain of pages: the first may be whole
        frames = 1
    if frames > 1:
        tell(
            'pages', f'{name} holds {frames} pages or frames: the first is used. Save the others as files of their own.'
        )


def upright(image: Image.Image) -> Image.Image:
    """A copy turned as the camera noted (EXIF)."""
    if image.format == 'TIFF' and getattr(image, 'tile', None) and image.tag_v2.get(274, 1) != 1 and image.filename:
        # Pillow 13 maps such a file into memory with swapped sides; from a stream it does not.
        image = Image.open(io.BytesIO(Path(image.filename).read_bytes()))
    return ImageOps.exif_transpose(image)


def wide_colours(image: Image.Image) -> np.ndarray | None:
    """(H, W, 3) RGB of more than 8 bits, upright, which Pillow itself would cut to 8; None for all other images.

    Read from what the image was opened from, so before it is loaded.
    """
    raw = str(image.tile[0][3]) if getattr(image, 'tile', None) else ''
    if ';16' not in raw or image.mode not in ('RGB', 'RGBA', 'RGBX'):
        return None
    place = image.fp.tell()
    image.fp.seek(0)
    values = _opencv(image.fp.read(), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    image.fp.seek(place)
    return None if values is None else values[..., ::-1]


def array_rgb(values: np.ndarray, name: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an array: (H, W), or with 1 (grey), 2 (and alpha), 3 (RGB) or 4 (and alpha) channels.

    Raises:
        ValueError: When it has another shape, or values that are no brightness.
    """
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[2] not in (1, 2, 3, 4) or not values.size:
        first = values.ndim == 3 and values.shape[0] in (1, 3, 4)
        raise ValueError(
            f'{name} is an array of shape {values.shape} and type {values.dtype}; an image is (H, W, 3) uint8 RGB, or '
            'grey (H, W).' + (' Its channels come first: array.transpose(1, 2, 0).' if first else '')
        )
    values = values.astype(values.dtype.newbyteorder('='), copy=False)
    channels = values.shape[2]
    alpha = values[..., -1] if channels in (2, 4) else None
    colours = to_8_bit(values[..., : channels - (channels in (2, 4))], name)
    if alpha is not None:
        full = np.iinfo(alpha.dtype).max if alpha.dtype.kind in 'ui' else max(1, float(alpha.max()))
        alpha = np.rint(alpha.astype(np.float64) * (255 / full)).clip(0, 255).astype(np.uint8)
    return _opaque(np.repeat(colours, 3, axis=2) if colours.shape[2] == 1 else colours, alpha, name)


def _opaque(colours: np.ndarray, alpha: np.ndarray | None, name: str) -> np.ndarray:
    if alpha is None or alpha.min() == 255:
        return colours
    share = float((alpha < 255).mean())
    tell('transparency', f'{name} is transparent in {share:.0%} of its pixels: they are put over neutral grey.')
    weight = alpha[..., None].astype(np.float32) / 255
    return np.rint(colours * weight + NEUTRAL * (1 - weight)).astype(np.uint8)
