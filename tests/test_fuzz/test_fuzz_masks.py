# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Masks: labels (H, W) of the image's size with an object, or a refusal by name, whatever door they come through."""

import io
import struct
from functools import partial
from pathlib import Path

import numpy as np
from fuzzing import Refusal, attempt, folder, written
from helpers import load_script
from hypothesis import example, given
from hypothesis import strategies as st
from mutations import damaged, with_checksums
from pictures import MODES, SUFFIXES, image_of, pictures, values_of
from PIL import Image

from mmfss.apis.support_masks import support_mask
from mmfss.datasets.annotations import read_file
from mmfss.datasets.class_index import index_histogram, read_class_index
from mmfss.datasets.folder import bright_histogram
from mmfss.datasets.mask_files import bright_values, read_mask
from mmfss.datasets.transforms import LoadBrightAnnotations, LoadFewShotAnnotations

ONNX = load_script(Path(__file__).parents[2] / 'demo' / 'onnx_images.py')
SIZE = (20, 30)  # of the image
IMAGE = 'the image query.jpg'
FILES = {kind: modes for kind, modes in MODES.items() if kind in ('PNG', 'TIFF', 'BMP', 'GIF', 'WEBP', 'JPEG', 'TGA')}
MASKS = {'PNG': MODES['PNG'], 'TIFF': ('1', 'L', 'P', 'LA', 'RGB', 'I;16', 'F'), 'BMP': ('1', 'L', 'P')}


def check_labels(labels, size=SIZE):
    if not isinstance(labels, Refusal):
        assert labels.shape == size and labels.dtype == np.uint8
        assert set(np.unique(labels).tolist()) <= {0, 1, 255} and (labels == 1).any()
    return labels


def support_all_ways(data: bytes, suffix: str, value: int, size=SIZE) -> np.ndarray | Refusal:
    """The labels of a mask file, as a support's; the road by path is given back."""
    with folder() as place:
        path = written(place, f'mask{suffix}', data)
        name = str(path)
        first = check_labels(attempt(partial(support_mask, path, size, IMAGE), name), size)
        for annotation in (
            dict(mask=name, value=value),
            dict(mask=path, label=str(value)),
            dict(mask=name, label='cat'),
        ):
            check_labels(attempt(partial(support_mask, annotation, size, IMAGE, 'query.jpg'), name), size)
        drawn = attempt(lambda: ONNX.read_mask(name, size[::-1]), name)
        assert isinstance(drawn, Refusal) or drawn.size == size[::-1]
        check_labels(attempt(lambda: support_mask(_opened(data), size, IMAGE), IMAGE), size)
        return first


def _opened(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data))
    except Exception as error:  # it is Pillow that refuses here
        raise OSError(f'{IMAGE}: {error}') from error


def read_as_data(data: bytes, suffix: str) -> None:
    """The doors of data sets: class folders (bright), index masks, converters, the counts of both."""
    with folder() as place:
        path = written(place, f'mask{suffix}', data)
        name = str(path)
        image = written(place, 'image.jpg', b'no image')
        for read in (partial(read_mask, path, f'The mask {path}', reader) for reader in (None, bright_values)):
            values = attempt(read, name)
            assert isinstance(values, Refusal) or (values.ndim == 2 and values.size)
        results = dict(seg_map_path=name, class_id=1, seg_fields=[], reduce_zero_label=False, label_map={})
        for load in (LoadFewShotAnnotations(), LoadBrightAnnotations()):
            loaded = attempt(lambda load=load: load(dict(results))['gt_seg_map'], name)
            assert isinstance(loaded, Refusal) or (loaded.ndim == 2 and loaded.dtype == np.uint8)
        for histogram in (index_histogram, bright_histogram):
            read = partial(read_class_index, [('a', str(image), name)], workers=1, histogram=histogram)
            index = attempt(read, name)
            assert isinstance(index, Refusal) or index.counts.sum() == np.prod(index.mask_sizes)
        attempt(lambda: read_file(path), name)


@given(data=pictures(FILES, size=SIZE), suffix=st.sampled_from(SUFFIXES), value=st.sampled_from([0, 1, 3, 255, 300]))
def test_a_whole_picture_as_a_mask(data, suffix, value):
    suffix = suffix if data.format != 'TIFF' else '.tif'
    support_all_ways(data.data, suffix, value)
    read_as_data(data.data, suffix)


@given(
    picture=pictures({'PNG': ('1', 'L', 'RGB', 'RGBA'), 'TIFF': ('1', 'L')}, size=SIZE, steps=(0, 255)),
    other=pictures({'PNG': ('L',)}, steps=(0, 1)),
)
def test_black_and_white_is_read_as_it_was_drawn(picture, other):
    wanted = picture.values > 0
    labels = support_all_ways(picture.data, '.png', 255)
    if wanted.ndim == 2 and picture.size == SIZE and picture.orientation in (0, 1, 9) and wanted.any():
        np.testing.assert_array_equal(labels == 1, wanted)
    labels = support_all_ways(other.data, '.png', 1)
    assert isinstance(labels, Refusal) or other.size == SIZE


@given(data=pictures(FILES, size=SIZE).flatmap(lambda picture: damaged(picture.data)), suffix=st.sampled_from(SUFFIXES))
def test_a_damaged_mask(data, suffix):
    support_all_ways(data, suffix, 1)
    read_as_data(data, suffix)


def png_of_size(width: int, height: int) -> bytes:
    """A palette PNG that claims this size and holds 30 x 20 pixels."""
    stream = io.BytesIO()
    Image.new('P', SIZE[::-1], 1).save(stream, 'PNG')
    data = stream.getvalue()
    return with_checksums(data[:16] + struct.pack('>II', width, height) + data[24:])


@given(data=pictures({'PNG': MODES['PNG']}, size=SIZE).flatmap(lambda p: damaged(p.data)).map(with_checksums))
@example(data=png_of_size(2**24, 20))  # with a label: DecompressionBombError
@example(data=png_of_size(30, 20)[:-20])  # with a label, and in memory: a truncated file without its name
def test_a_damaged_png_whose_checksums_are_right(data):
    support_all_ways(data, '.png', 1)
    read_as_data(data, '.png')


@given(data=st.binary(max_size=200), suffix=st.sampled_from((*SUFFIXES, '.npy', '.json')))
def test_any_bytes_as_a_mask(data, suffix):
    support_all_ways(data, suffix, 1)
    read_as_data(data, suffix)


@given(
    shape=st.sampled_from(
        [SIZE, SIZE[::-1], (*SIZE, 1), (*SIZE, 2), (*SIZE, 3), (*SIZE, 4), (1, *SIZE), (), (0, 0), (600,)]
    ),
    kind=st.sampled_from(['u1', 'u2', '>u2', 'u4', 'u8', 'i1', 'i4', 'i8', 'f2', 'f4', 'f8', '?', 'c8', 'O', 'U3']),
    levels=st.lists(
        st.sampled_from([0, 1, 2, 255, -1, 128, 300, 65535, 2**31 - 1, 2**63, 0.5, np.nan, np.inf, 1e30]),
        min_size=1,
        max_size=4,
    ),
    value=st.sampled_from([None, 0, 1, 3, 255, 2.0, 0.5, True, '1', np.int64(1), np.nan, 2**70]),
    seed=st.integers(0, 99),
)
def test_an_array_of_any_shape_and_type(shape, kind, levels, value, seed):
    values = np.random.default_rng(seed).choice(np.array(levels, object), shape)
    try:
        with np.errstate(all='ignore'):
            array = np.array(values).astype(kind)
    except (OverflowError, ValueError, TypeError):  # NumPy refuses it itself
        return
    annotation = array if value is None else dict(mask=array, value=value)
    check_labels(attempt(lambda: support_mask(annotation, SIZE, IMAGE), IMAGE, typed=True))


@given(mode=st.sampled_from(['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'YCbCr', 'I', 'I;16', 'F']), data=st.data())
def test_an_image_in_memory(mode, data):
    image = image_of(data.draw(values_of(mode, SIZE)), mode, [0, 0, 0] + [255] * 765)
    for annotation in (image, dict(mask=image, value=data.draw(st.sampled_from([0, 1, 255])))):
        check_labels(attempt(lambda a=annotation: support_mask(a, SIZE, IMAGE), IMAGE))


@given(
    annotation=st.one_of(
        st.none(),
        st.integers(),
        st.binary(max_size=9),
        st.text(max_size=300),
        st.dictionaries(
            st.sampled_from(['mask', 'value', 'label', 'box', 'points', 'counts', 'size', 'segmentation', 'shapes']),
            st.sampled_from([None, 1, 'x', [], {}, [1, 2], [0, 0, 5, 5], np.ones(SIZE, bool), [[1, 1]], b'x']),
        ),
    )
)
def test_something_else_than_a_mask(annotation):
    mask = annotation.get('mask') if isinstance(annotation, dict) else annotation
    check_labels(
        attempt(
            lambda: support_mask(annotation, SIZE, IMAGE, 'query.jpg'),
            IMAGE,
            'query.jpg',
            str(mask),
            'mask',
            typed=True,
        )
    )
