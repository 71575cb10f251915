# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Images: any file, array or PIL image becomes (H, W, 3) uint8 of its own size, or is refused by name."""

import functools
import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from fuzzing import Refusal, attempt, folder, written
from helpers import load_script
from hypothesis import example, given
from hypothesis import strategies as st
from mutations import damaged, with_checksums
from pictures import LOSSLESS, MODES, NOT_READ, RESIZED, SUFFIXES, Picture, pictures
from PIL import Image

from mmfss.apis import FewShotInferencer
from mmfss.apis.images import load_image
from mmfss.apis.queries import NameBook, find_queries
from mmfss.datasets.file_kinds import _PREFIXES
from mmfss.datasets.image_files import decode_image, read_rgb
from mmfss.datasets.transforms import LoadFewShotImage

DEMO = Path(__file__).parents[2] / 'demo'
ONNX, WEB = (load_script(DEMO / name) for name in ('onnx_images.py', 'web_demo/images.py'))
TOYS = load_script(Path(__file__).parents[1] / 'test_apis' / 'api_toys.py')
LOADER = LoadFewShotImage(to_float32=False)
MOST = Image.MAX_IMAGE_PIXELS


def read_all_ways(data: bytes, suffix: str) -> list:
    """The results of every road of a file: each (H, W, 3) uint8 RGB, or a refusal."""
    with folder() as place:
        path = written(place, f'query{suffix}', data)
        name = str(path)
        found = [
            attempt(lambda: read_rgb(path), name),
            attempt(lambda: decode_image(data, name)[..., ::-1], name),
            attempt(lambda: load_image(path, LOADER, 'image 0')['img'][..., ::-1], name),
            attempt(lambda: _as_pil(data), 'image 0'),
        ]
        for size in (
            attempt(lambda: ONNX.read_image(name).size, name),
            attempt(lambda: WEB.read_image(path, 'upload', 10**6).shape[1::-1], 'upload'),
        ):
            assert isinstance(size, Refusal) or isinstance(found[0], Refusal) or size == found[0].shape[1::-1]
        attempt(lambda: [query.name for source in find_queries([name], NameBook()) for query in source], name)
    for image in found:
        if not isinstance(image, Refusal):
            assert image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8 and image.size, image.shape
            assert image.shape[0] * image.shape[1] <= 2 * MOST
    return found


def _as_pil(data: bytes) -> np.ndarray:
    try:
        image = Image.open(io.BytesIO(data))
    except Exception as error:  # it is Pillow that refuses here, before mmfss sees anything
        raise OSError(f'image 0: {error}') from error
    return load_image(image, LOADER, 'image 0')['img'][..., ::-1]


def turned_tiff() -> Picture:
    """Not compressed, so that Pillow maps it into memory."""
    values, exif, stream = np.arange(6, dtype=np.uint8).reshape(2, 3), Image.Exif(), io.BytesIO()
    exif[274] = 6
    Image.fromarray(values).save(stream, 'TIFF', exif=exif)
    return Picture(stream.getvalue(), 'TIFF', 'L', values, 6)


@given(picture=pictures(), suffix=st.sampled_from(SUFFIXES))
@example(picture=turned_tiff(), suffix='.tif')  # the ONNX demo turned its pixels, but not its sides
def test_a_whole_picture_is_read_at_its_size(picture, suffix):
    found = read_all_ways(picture.data, '.tif' if picture.format == 'TIFF' else suffix)
    for image in found:
        if isinstance(image, Refusal):
            # values that are no brightness; XBM's head is text; Pillow takes a QOI of 1 or 2 columns for a GBR
            other = picture.format == 'XBM' or (picture.format == 'QOI' and 'kind GBR' in image)
            assert picture.mode in ('I', 'F') or other or suffix.startswith('.heic'), image
        elif picture.format not in RESIZED:
            assert image.shape[:2] == picture.size
        if picture.mode == 'RGB' and picture.format in LOSSLESS and picture.orientation in (0, 1, 9):
            np.testing.assert_array_equal(image, picture.values)


@given(picture=pictures(NOT_READ))
def test_a_picture_of_a_kind_that_is_not_read_is_refused(picture):
    assert all(isinstance(image, Refusal) for image in read_all_ways(picture.data, '.png')[:3])


@given(data=pictures().flatmap(lambda picture: damaged(picture.data)), suffix=st.sampled_from(SUFFIXES))
def test_a_damaged_picture(data, suffix):
    read_all_ways(data, suffix)


@given(data=pictures({'PNG': MODES['PNG']}).flatmap(lambda picture: damaged(picture.data)).map(with_checksums))
@example(data=b'\x89PNG\r\n\x1a\n' + b'\0' * 4 + b'IHDR' + zlib.crc32(b'IHDR').to_bytes(4, 'big'))  # no size
def test_a_damaged_png_whose_checksums_are_right(data):
    read_all_ways(data, '.png')


@given(
    head=st.sampled_from([prefix for prefix, _, _ in _PREFIXES] + [b'\xff\xd8\xff\xe0', b'BM', b'GIF89a', b'II*\0']),
    rest=st.binary(max_size=400),
    suffix=st.sampled_from((*SUFFIXES, '.mp4', '.avi')),
)
@example(head=b'P5 1 9000 255\n', rest=b'\0' * 9, suffix='.ppm')  # Pillow: ValueError('not enough image data')
def test_the_head_of_any_format_and_then_anything(head, rest, suffix):
    read_all_ways(head + rest, suffix)


def _png(width: int, height: int, depth: int, kind: int, data: bytes) -> bytes:
    head = struct.pack('>IIBBBBB', width, height, depth, kind, 0, 0, 0)
    chunks = ((b'IHDR', head), (b'IDAT', zlib.compress(data)), (b'IEND', b''))
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(body)) + name + body + struct.pack('>I', zlib.crc32(name + body)) for name, body in chunks
    )


@given(
    width=st.sampled_from([1, 9000, 100_000, 2**31 - 1, 2**32 - 1]),
    height=st.sampled_from([1, 9000, 100_000, 2**31 - 1, 2**32 - 1]),
    depth=st.sampled_from([1, 8, 16]),
    kind=st.sampled_from([0, 2, 3, 4, 6]),
)
def test_a_small_file_that_claims_a_huge_size(width, height, depth, kind):
    read_all_ways(_png(width, height, depth, kind, b'\0' * 1000), '.png')
    for head in (f'P5 {width} {height} 255\n', f'P6 {width} {height} 65535\n', f'P4\n{width} {height}\n'):
        read_all_ways(head.encode() + b'\0' * 100, '.ppm')
    if max(width, height) < 2**31:
        bmp = struct.pack('<2sIIIIiiHHIIiiII', b'BM', 154, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
        read_all_ways(bmp + b'\0' * 100, '.bmp')


@given(
    shape=st.lists(st.integers(0, 6), max_size=4),
    kind=st.sampled_from(
        ['u1', 'u2', '>u2', 'u4', 'u8', 'i1', 'i4', 'i8', 'f2', 'f4', '>f4', 'f8', '?', 'c8', 'O', 'U3', 'M8[s]']
    ),
    fill=st.sampled_from([0, 1, 2, 255, 300, 65535, 2**31, 2**63, -1, 0.5, 1.5, np.nan, np.inf, 1e30]),
    seed=st.integers(0, 99),
)
def test_an_array_of_any_shape_and_type(shape, kind, fill, seed):
    array = np.random.default_rng(seed).integers(0, 2, shape).astype(kind, casting='unsafe')
    try:
        array[np.random.default_rng(seed).random(shape) < 0.5] = fill
    except (OverflowError, ValueError, TypeError):  # NumPy refuses it itself
        pass
    image = attempt(lambda: load_image(array, LOADER, 'image 0')['img'], 'image 0', typed=True)
    assert isinstance(image, Refusal) or (image.shape == (*shape[:2], 3) and image.dtype == np.uint8)


@given(item=st.one_of(st.none(), st.integers(), st.binary(), st.lists(st.integers()), st.text(max_size=300)))
@example(item='')
@example(item='a\0b')
@example(item='x' * 5000)
@example(item='http://a/b.png')
def test_something_else_than_an_image(item):
    names = ['image 0', 'The path of the image is empty', type(item).__name__, str(item).rstrip('/')]
    assert isinstance(attempt(lambda: load_image(item, LOADER, 'image 0'), *names, typed=True), Refusal)
    attempt(lambda: find_queries([item], NameBook()), *names, typed=True)


@functools.cache
def inferencer() -> FewShotInferencer:
    """A tiny model that keeps the aspect of images."""
    with folder() as place:
        weights = TOYS.write_checkpoint(TOYS.tiny_config(), Path(place, 'tiny.pth'))
        return FewShotInferencer(TOYS.tiny_config(), weights, 'cpu', show_progress=False)


@given(
    picture=pictures(),
    support=pictures({'PNG': ('RGB',), 'JPEG': ('L',)}),
    box=st.tuples(*[st.integers(-2, 45)] * 4),
    options=st.fixed_dictionaries(
        {},
        optional=dict(
            threshold=st.sampled_from([0, 0.5, 1, -1, math.nan, math.inf, 2]),
            batch_size=st.sampled_from([1, 3, 0, -1, 1.5]),
            formats=st.sampled_from([('png',), ('coco', 'yolo', 'labelme'), (), ('x',)]),
        ),
    ),
)
def test_a_result_has_the_size_of_its_image(picture, support, box, options):
    with folder() as place:
        query = str(written(place, f'query{".tif" if picture.format == "TIFF" else ".png"}', picture.data))
        shown = str(written(place, 'support.jpg', support.data))
        known = attempt(lambda: inferencer().register('gear', shown, dict(box=box)), shown)
        if isinstance(known, Refusal):
            known = inferencer().register('gear', TOYS.photo(0), TOYS.disc())
        found = attempt(
            lambda: inferencer()([query], known, out_dir=Path(place, 'out'), **options),
            query,
            *(f'`{name}`' for name in options),
            'format',
        )
        if not isinstance(found, Refusal):
            size = read_rgb(query).shape[:2]
            assert [result.mask.shape for result in found] == [size]
            with Image.open(Path(place, 'out/masks/query.png')) as mask:
                assert mask.size == size[::-1]
