# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""demo/onnx_images.py reads as mmfss does, without importing it."""

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import load_script
from PIL import Image

from mmfss.apis.support_masks import support_mask
from mmfss.datasets.image_files import decode_image

REPO = Path(__file__).parents[2]
sys.path.append(str(REPO / 'tests' / 'test_datasets'))
import file_toys as toys  # noqa: E402
import test_mask_files  # noqa: E402

GREY, PHOTO = toys.grey(), toys.photo()
IMAGES = {
    '16.png': GREY.astype(np.uint16) * 257,
    '12.png': GREY.astype(np.uint16) * 16,
    '12.tif': GREY.astype(np.uint16) * 16,
    'float.tif': Image.fromarray(GREY.astype(np.float32) / 255),
    'alpha.png': toys.with_alpha(PHOTO, GREY),
    'palette.png': Image.fromarray(PHOTO).quantize(16),
    'grey.png': GREY,
    'cmyk.tif': Image.fromarray(PHOTO).convert('CMYK'),
}


@pytest.fixture(scope='module')
def small():
    return load_script(REPO / 'demo' / 'onnx_images.py')


def test_it_needs_nothing_of_mmfss():
    for name in ('onnx_images.py', 'onnx_segment.py'):
        text = (REPO / 'demo' / name).read_text()
        assert 'import mmfss' not in text and 'from mmfss' not in text and 'cv2' not in text


@pytest.mark.parametrize('name', IMAGES)
def test_images_agree(small, tmp_path, name):
    exif = Image.Exif()
    exif[274] = 6
    options = dict(exif=exif) if name.endswith('.png') else {}
    path = toys.as_file(IMAGES[name], tmp_path / name, **options)
    assert np.array_equal(
        np.asarray(small.read_image(str(path))), decode_image(path.read_bytes(), str(path))[..., ::-1]
    )


@pytest.mark.parametrize('kind', test_mask_files.GOOD)
def test_masks_agree(small, tmp_path, kind):
    image = test_mask_files.GOOD[kind]
    suffix = '.tif' if getattr(image, 'mode', '') in ('F', 'I', 'CMYK', 'YCbCr', 'LAB') else '.png'
    path = toys.as_file(image, tmp_path / f'mask{suffix}')
    wanted = support_mask(path, (toys.H, toys.W), 'photo.jpg') == 1
    if kind in ('paint with alpha', 'RGB of 16 bits', 'CMYK', 'YCbCr', 'LAB'):  # read right, or refused
        try:
            found = small.read_mask(str(path), (toys.W, toys.H))
        except ValueError as error:
            assert 'mask' in str(error)
            return
    else:
        found = small.read_mask(str(path), (toys.W, toys.H))
    assert np.array_equal(np.asarray(found) == 255, wanted)


def test_refused(small, tmp_path):
    mask = toys.object_mask().astype(np.uint8)
    for name, image, message in (
        ('two.png', toys.with_alpha(mask * 255, (1 - mask) * 255), 'two ways'),
        ('empty.png', mask * 0, 'is empty'),
        ('grey.png', GREY, 'holds the values'),
        ('small.png', mask[:9], '60x9 pixels, its image is 60x40'),
        ('bytes.png', None, 'cannot be read'),
    ):
        path = tmp_path / name
        path.write_bytes(b'%PDF') if image is None else toys.as_file(image, path)
        with pytest.raises(ValueError, match=f'{name} .*{message}'):
            small.read_mask(str(path), (toys.W, toys.H))
    with pytest.raises(ValueError, match='from -1'):
        small.read_image(str(toys.as_file(Image.fromarray(GREY.astype(np.float32) - 1), tmp_path / 'f.tif')))
