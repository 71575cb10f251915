# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A mask of whatever kind marks the object that a viewer shows, or is refused with the reasons."""

import file_toys as toys
import numpy as np
import pytest
from PIL import Image

from mmfss.apis.support_masks import support_mask
from mmfss.datasets.mask_files import bright_values, read_mask
from mmfss.utils.notices import begin_telling

OBJECT = toys.object_mask()
WHITE = OBJECT.astype(np.uint8) * 255
GREYS = [level for value in range(256) for level in (value,) * 3]


@pytest.fixture(autouse=True)
def nothing_said():
    begin_telling()


def palette(colours, **places):
    return toys.palette_mask(OBJECT, colours, **places)


RGB16 = np.repeat(WHITE[..., None].astype(np.uint16) * 257, 3, axis=2)
LAB = Image.merge('LAB', [Image.fromarray(c) for c in (WHITE, WHITE * 0 + 128, WHITE * 0 + 128)])
GOOD = {
    'grey': Image.fromarray(WHITE),
    '1 bit': Image.fromarray(OBJECT),
    'RGB': Image.fromarray(WHITE).convert('RGB'),
    '16 bits, 0 and 65535': Image.fromarray(OBJECT.astype(np.uint16) * 65535),
    '16 bits, 0 and 4095': Image.fromarray(OBJECT.astype(np.uint16) * 4095),
    '16 bits, 0 and 255': Image.fromarray(WHITE.astype(np.uint16)),
    'I': Image.fromarray(OBJECT.astype(np.int32) * 255),
    'F': Image.fromarray(OBJECT.astype(np.float32) * 255),
    'RGB of 16 bits': RGB16,
    'white first in the palette': palette([255, 255, 255, 0, 0, 0], dark=1, bright=0),
    'white last': palette([0, 0, 0, 255, 255, 255]),
    'near black and white': palette([250, 252, 248, 6, 4, 9], dark=1, bright=0),
    'unused entries': palette([200, 30, 30, 0, 0, 0, 30, 200, 30, 255, 255, 255], dark=1, bright=3),
    'quantized': Image.fromarray(WHITE).convert('RGB').quantize(2),
    'palette of greys': palette(GREYS, dark=0, bright=255),
    'opaque alpha': toys.with_alpha(WHITE, WHITE * 0 + 255),
    'white with alpha': toys.with_alpha(255, WHITE),
    'black with alpha': toys.with_alpha(0, WHITE),
    'paint with alpha': toys.with_alpha(np.dstack([WHITE, WHITE * 0, WHITE * 0]), WHITE),
    'grey with alpha': toys.with_alpha(255, WHITE).convert('LA'),
    'colours and alpha agree': toys.with_alpha(WHITE, WHITE),
    'CMYK': Image.fromarray(WHITE).convert('RGB').convert('CMYK'),
    'YCbCr': Image.fromarray(WHITE).convert('RGB').convert('YCbCr'),
    'LAB': LAB,
}


@pytest.mark.parametrize('kind', GOOD)
@pytest.mark.parametrize('way', ['pil', 'file', 'class folder'])
def test_the_object_is_what_a_viewer_shows(tmp_path, kind, way):
    image = GOOD[kind]
    path = tmp_path / ('mask.png' if not isinstance(image, Image.Image) or image.mode != 'F' else 'mask.tif')
    if isinstance(image, Image.Image) and image.mode in ('CMYK', 'YCbCr', 'LAB', 'I'):
        path = tmp_path / 'mask.tif'
    toys.as_file(image, path)
    if way == 'class folder':
        assert np.array_equal(read_mask(path, 'it', bright_values) >= 128, OBJECT)
        return
    if way == 'pil':
        with Image.open(path) as opened:
            labels = support_mask(opened, OBJECT.shape, 'photo.jpg')
    else:
        labels = support_mask(path, OBJECT.shape, 'photo.jpg')
    assert np.array_equal(labels, OBJECT)


VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]


def test_class_colours_stay_indices():
    assert np.array_equal(support_mask(palette(VOC), OBJECT.shape, 'a'), OBJECT)
    with pytest.raises(ValueError, match='holds the values 0, 3; .*--mask-value 3'):
        support_mask(palette(VOC, bright=3), OBJECT.shape, 'a')
    assert np.array_equal(support_mask(dict(mask=palette(VOC, bright=3), value=3), OBJECT.shape, 'a'), OBJECT)
    # A class by its number in a palette that happens to be black and white; or by its level.
    white = palette([0, 0, 0, 255, 255, 255])
    for value in (1, 255):
        assert np.array_equal(support_mask(dict(mask=white, value=value), OBJECT.shape, 'a'), OBJECT)
    void = palette([0, 0, 0, 255, 255, 255] + [128] * 762)
    void.putpixel((0, 0), 255)  # left out: the palette is not black and white
    labels = support_mask(void, OBJECT.shape, 'a')
    assert labels[0, 0] == 255 and np.array_equal(labels == 1, OBJECT)


def shifted() -> np.ndarray:
    return np.roll(WHITE, 15, axis=1)


@pytest.mark.parametrize(
    'image, message',
    [
        (toys.with_alpha(WHITE, shifted()), 'two ways: its colours mark 340 pixels .white., its alpha 340 .opaque.'),
        (toys.with_alpha(WHITE, 255 - WHITE), 'two ways: .* mark 340 .* its alpha 2060'),
        (toys.with_alpha(WHITE, WHITE * 0), 'wholly transparent'),
        (
            toys.with_alpha(np.dstack([WHITE, shifted(), WHITE * 0]), np.maximum(WHITE, shifted())),
            'two ways: 3 colours that may be classes',
        ),
        (Image.fromarray(np.dstack([WHITE, WHITE * 0, WHITE * 0])), 'is in colours'),
        (palette([0, 0, 0, 90, 90, 90, 180, 180, 180], bright=2), r'holds the values 0, 180; .*value=180'),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(tmp_path, image, message):
    path = toys.as_file(image, tmp_path / 'mask.png')
    for mask in (path, image):
        with pytest.raises(ValueError, match=message):
            support_mask(mask, OBJECT.shape, 'photo.jpg')


def test_a_cut_out_photo_is_read_by_its_alpha(logged):
    cut_out = toys.with_alpha(np.random.default_rng(0).integers(0, 255, (*OBJECT.shape, 3), dtype=np.uint8), WHITE)
    assert np.array_equal(support_mask(cut_out, OBJECT.shape, 'photo.jpg'), OBJECT)
    assert any('cut-out photo' in message for message in logged)


@pytest.mark.parametrize('kind', ['TIFF', 'GIF', 'PNG'])
def test_masks_of_several_pages(tmp_path, kind):
    path = tmp_path / f'mask.{kind.lower()}'
    Image.fromarray(WHITE).save(path, kind, save_all=True, append_images=[Image.fromarray(255 - WHITE)])
    with pytest.raises(ValueError, match='mask.* holds 2 pages or frames. Save the one that belongs to the image'):
        support_mask(path, OBJECT.shape, 'photo.jpg')


@pytest.mark.parametrize('start, what', [(b'%PDF-1.4', 'a PDF'), (b'\0' * 128 + b'DICM', 'a DICOM'), (b'', 'an empty')])
def test_files_that_are_no_masks(tmp_path, start, what):
    path = tmp_path / 'mask.png'
    path.write_bytes(start)
    with pytest.raises(ValueError, match=f'mask.png cannot be read: it is no mask image but {what}'):
        support_mask(path, OBJECT.shape, 'photo.jpg')


def test_a_mask_with_a_rotation_of_its_own(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    path = toys.as_file(np.rot90(WHITE).copy(), tmp_path / 'mask.png', exif=exif)
    assert np.array_equal(support_mask(path, OBJECT.shape, 'photo.jpg'), OBJECT)


def test_a_stray_pixel_is_told(logged):
    mask = WHITE.copy()
    mask[0, 0] = 1
    support_mask(mask, OBJECT.shape, 'photo.jpg')
    assert any('1 pixels of 1 and 340 of 255' in m and '--mask-value 255' in m for m in logged)
    assert np.array_equal(support_mask(dict(mask=mask, value=255), OBJECT.shape, 'photo.jpg') == 1, OBJECT)
    logged.clear()
    voc = OBJECT.astype(np.uint8)
    voc[0] = 255  # a border that is left out
    support_mask(voc, OBJECT.shape, 'photo.jpg')
    assert not logged


@pytest.mark.parametrize('value', ['3', True, 2.5, float('nan'), [3]])
def test_values_that_are_no_numbers(value):
    with pytest.raises(TypeError, match='`value` of the mask of photo.jpg is .*whole number'):
        support_mask(dict(mask=WHITE, value=value), OBJECT.shape, 'photo.jpg')


def test_paths_that_are_none():
    with pytest.raises(ValueError, match='path of the mask is empty'):
        support_mask('', OBJECT.shape, 'photo.jpg')
    with pytest.raises(ValueError, match='nothing is fetched'):
        support_mask('https://a.org/m.png', OBJECT.shape, 'photo.jpg')
