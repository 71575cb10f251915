# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""An image is read alike whatever it is given as, or refused with its name, the reason and the cure."""

import gzip

import cv2
import file_toys as toys
import numpy as np
import pytest
from PIL import Image

from mmfss.apis.images import load_image, rgb
from mmfss.datasets.image_files import array_rgb, decode_image, pil_rgb, read_rgb
from mmfss.datasets.image_headers import CorruptFileError, check_file, check_path, upright_size
from mmfss.datasets.transforms import LoadFewShotImage
from mmfss.utils.notices import begin_telling

GREY, PHOTO = toys.grey(), toys.photo()
THREE = np.repeat(GREY[..., None], 3, axis=2)


@pytest.fixture(autouse=True)
def nothing_said():
    begin_telling()


def both_ways(path):
    """The image as inferencer and data sets load the file, and as they take the opened file."""
    loader = LoadFewShotImage()
    by_path = rgb(load_image(path, loader, 'it'))
    assert np.array_equal(by_path, loader(dict(img_path=str(path)))['img'][..., ::-1].astype(np.uint8))
    with Image.open(path) as opened:
        by_pil = rgb(load_image(opened, loader, 'it'))
    return by_path, by_pil


@pytest.mark.parametrize(
    'name, image, tolerance',
    [
        ('16 bits', (GREY.astype(np.uint16) * 257), 0),
        ('12 bits', (GREY.astype(np.uint16) * 16), 0),
        ('10 bits', (GREY.astype(np.uint16) * 4), 0),
        ('RGB16', (PHOTO.astype(np.uint16) * 257), 0),
        ('RGB12', (PHOTO.astype(np.uint16) * 16), 0),
        ('RGBA16', np.dstack([PHOTO.astype(np.uint16) * 257, np.full((*GREY.shape, 1), 65535, np.uint16)]), 0),
        ('L', Image.fromarray(GREY), 0),
        ('LA', Image.fromarray(GREY).convert('LA'), 0),
        ('RGBA', Image.fromarray(PHOTO).convert('RGBA'), 0),
    ],
)
@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_bit_depths_and_alpha(tmp_path, name, image, tolerance, suffix):
    wanted = PHOTO if 'RGB' in name else THREE
    for found in both_ways(toys.as_file(image, tmp_path / f'image{suffix}')):
        assert np.abs(found.astype(int) - wanted).max() <= tolerance


@pytest.mark.parametrize('mode', ['I;16', 'I;16B', 'I', 'F', 'LAB', 'YCbCr', 'CMYK', 'HSV', 'P', '1', 'LA', 'RGBa'])
def test_pil_images_of_every_mode(mode):
    source = Image.fromarray(PHOTO)
    if mode == 'I;16B':
        image = Image.frombytes(mode, (toys.W, toys.H), (GREY.astype('>u2') * 257).tobytes())
    elif mode in ('I;16', 'I', 'F'):
        kinds = {'I;16': np.uint16, 'I': np.int32, 'F': np.float32}
        image = Image.fromarray((GREY.astype(np.int64) * (1 if mode == 'F' else 257)).astype(kinds[mode]))
        assert image.mode == mode
    elif mode == 'LAB':
        lab = cv2.cvtColor(PHOTO, cv2.COLOR_RGB2LAB)
        image = Image.merge('LAB', [Image.fromarray(channel) for channel in np.moveaxis(lab, 2, 0)])
    else:
        image = source.convert('RGBA').convert(mode) if mode == 'RGBa' else source.convert(mode)
    found = pil_rgb(image, 'it').astype(int)
    wanted = {'P': None, '1': None, 'LA': None}.get(mode, THREE if mode[0] in 'IF' else PHOTO)
    if wanted is not None:
        assert np.abs(found - wanted).mean() < 4
    assert found.std() > 30  # neither black nor white


@pytest.mark.parametrize(
    'array, wanted',
    [
        (PHOTO.astype(np.uint16) * 257, PHOTO),
        (PHOTO.astype(np.uint16) * 16, PHOTO),
        (PHOTO.astype(np.int32), PHOTO),
        (PHOTO / 255, PHOTO),
        (PHOTO.astype(np.float32), PHOTO),
        (GREY, THREE),
        (GREY[..., None], THREE),
        (GREY.astype('>u2') * 16, THREE),
        (np.dstack([PHOTO, np.full_like(GREY, 255)]), PHOTO),
        (GREY > 100, (THREE > 100) * 255),
    ],
)
def test_arrays(array, wanted):
    assert np.array_equal(array_rgb(array, 'it'), wanted)


@pytest.mark.parametrize(
    'array, message',
    [
        (np.moveaxis(PHOTO, 2, 0), r'uint8 RGB.*channels come first: array\.transpose\(1, 2, 0\)'),
        (PHOTO[None], r'shape \(1, 40, 60, 3\)'),
        (np.zeros((0, 5, 3), np.uint8), 'shape'),
        (np.zeros((9, 9, 5), np.uint8), r'\(9, 9, 5\)'),
        (PHOTO - 300.0, 'from -300 to .*negative ones are no brightness.*8-bit PNG'),
        (PHOTO.astype(np.int16) - 1024, 'negative'),
        (np.where(PHOTO == 90, np.nan, PHOTO), 'NaN or infinity'),
        (PHOTO / 200, 'either shares of white that overshoot 1, or grey'),
        (PHOTO * 1e12, 'Scale it to 0..255'),
        (PHOTO.astype(complex), 'complex128'),
    ],
)
def test_arrays_that_are_refused(array, message):
    with pytest.raises(ValueError, match=f'photo 3 .*{message}'):
        array_rgb(array, 'photo 3')


def test_a_range_below_that_of_the_type_is_told(tmp_path, logged):
    both_ways(toys.as_file(GREY.astype(np.uint16) * 16, tmp_path / 'xray.png'))
    assert any('xray.png' in m and 'read as 12-bit data, 0..4095' in m for m in logged)
    load_image((GREY > 100).astype(np.uint8), LoadFewShotImage(), 'photo 3')
    assert any('photo 3 is nearly black: its largest value is 1 of 255. Is it a mask' in m for m in logged)
    logged.clear()
    both_ways(toys.as_file(GREY.astype(np.uint16) * 257, tmp_path / 'full.png'))
    assert not logged


@pytest.mark.parametrize('kind', ['PNG', 'WEBP', 'TIFF', 'GIF', 'palette'])
def test_transparent_pixels_are_neutral(tmp_path, kind, logged):
    mask = toys.object_mask()
    magenta = np.where(mask[..., None], PHOTO, (255, 0, 255)).astype(np.uint8)
    image = toys.with_alpha(magenta, mask * 255)
    options = dict(lossless=True, exact=True) if kind == 'WEBP' else {}
    if kind == 'palette':
        kind, image = 'PNG', toys.palette_mask(mask, [255, 0, 255, 10, 200, 30])
        options = dict(transparency=0)
    path = tmp_path / f'sticker.{kind.lower()}'
    image.save(path, kind, **options)
    for found in both_ways(path):
        assert (found[~mask] == 128).all() and found[mask].std() + found[mask].mean() > 40
    assert any('sticker' in m and 'transparent in 86%' in m and 'over neutral grey' in m for m in logged)


@pytest.mark.parametrize('kind', ['TIFF', 'GIF', 'WEBP', 'PNG'])
def test_pages_and_frames_are_told(tmp_path, kind, logged):
    first, second = Image.fromarray(PHOTO), Image.fromarray(PHOTO[::-1])
    path = tmp_path / f'stack.{kind.lower()}'
    first.save(path, kind, save_all=True, append_images=[second], **(dict(lossless=True) if kind == 'WEBP' else {}))
    for found in both_ways(path):
        assert np.abs(found.astype(int) - PHOTO).mean() < 12
    assert any('stack' in m and '2 pages or frames: the first is used' in m for m in logged)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
def test_a_turned_camera(tmp_path, kind):
    exif = Image.Exif()
    exif[274] = 6
    for number, image in enumerate([PHOTO, GREY.astype(np.uint16) * 257, toys.with_alpha(PHOTO, GREY * 0 + 255)]):
        if kind in ('JPEG', 'WEBP') and number:
            continue
        path = tmp_path / f'{number}.{kind.lower()}'
        toys.as_file(image, path, exif=exif)
        for found in both_ways(path):
            assert found.shape == (toys.W, toys.H, 3)
            wanted = np.rot90(THREE if number == 1 else PHOTO, -1)
            assert np.abs(found.astype(int) - wanted).mean() < 12


def test_common_files_are_exactly_what_opencv_gives(tmp_path):
    for name in ('a.jpg', 'a.png', 'grey.png', 'bits.png', 'cmyk.jpg'):
        image = Image.fromarray(PHOTO)
        mode = dict(grey='L', bits='1', cmyk='CMYK').get(name.split('.')[0], 'RGB')
        path = toys.as_file(image.convert(mode), tmp_path / name)
        assert np.array_equal(decode_image(path.read_bytes(), str(path)), cv2.imread(str(path)))


@pytest.mark.parametrize('kind', ['TGA', 'ICO', 'DDS', 'PCX', 'BMP', 'PPM', 'JPEG2000'])
def test_both_checks_ask_the_decoder_that_is_used(tmp_path, kind):
    path = tmp_path / f'image.{kind.lower()}'
    Image.fromarray(PHOTO).save(path, kind, **(dict(sizes=[(toys.W, toys.H)]) if kind == 'ICO' else {}))
    check_file(path)
    assert np.abs(both_ways(path)[0].astype(int) - PHOTO).max() < 3


def media(brand: bytes) -> bytes:
    return (24).to_bytes(4, 'big') + b'ftyp' + brand + b'\0\0\0\0' + brand + b'isom' + b'\0' * 900


NIFTI = b'\x5c\x01\0\0' + b'\0' * 340 + b'n+1\0' + b'\0' * 500
KINDS = {
    'HEIC picture .as iPhones.*JPEG or PNG': media(b'heic'),
    'DICOM.*slices as 8-bit PNG': b'\0' * 128 + b'DICM' + b'\0' * 900,
    'NIfTI.*slices': NIFTI,
    'NIfTI volume.*slices': gzip.compress(NIFTI),
    'PDF document.*as PNG': b'%PDF-1.7\n' + b'x' * 900,
    'SVG.*as PNG': b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
    'Photoshop.*flattened': toys.encoded(Image.fromarray(PHOTO), 'PNG').replace(b'\x89PNG', b'8BPS'),
    'RAW file.*Develop': b'II*\0\x10\0\0\0CR\x02\0' + b'\0' * 900,
    'video .MP4.*ends in .mp4': media(b'isom'),
    'video .AVI.*': b'RIFF\0\0\0\0AVI LIST' + b'\0' * 900,
    'video .Matroska.*': b'\x1aE\xdf\xa3' + b'\0' * 900,
    'web page': b'<!DOCTYPE html><html></html>',
    'Git LFS.*git lfs pull': b'version https://git-lfs.github.com/spec/v1\noid sha256:0\n',
    'ZIP archive': b'PK\x03\x04' + b'\0' * 900,
    'NumPy array.*np.load': b'\x93NUMPY' + b'\0' * 900,
    'PostScript': b'%!PS-Adobe-3.0 EPSF-3.0\n',
    'empty file': b'',
    'JSON': b'{"shapes": []}',
    'text file': b'0 0.5 0.5 0.2 0.2\n',
}


@pytest.mark.parametrize('what', KINDS)
@pytest.mark.parametrize('suffix', ['.png', '.heic'])
def test_other_files_are_named_for_what_they_are(tmp_path, what, suffix):
    path = tmp_path / f'file{suffix}'
    path.write_bytes(KINDS[what])
    for read in (check_file, lambda p: LoadFewShotImage()(dict(img_path=str(p)))):
        with pytest.raises(CorruptFileError, match=f'file{suffix} cannot be read: it is no image but .*{what}'):
            read(path)


def test_raw_files_of_which_a_preview_would_be_seen(tmp_path):
    nef = toys.as_file(Image.fromarray(PHOTO), tmp_path / 'photo.tif').rename(tmp_path / 'photo.NEF')
    dng = tmp_path / 'photo.tif'
    Image.fromarray(PHOTO).save(dng, tiffinfo={50706: b'\1\4\0\0'})
    for path in (nef, dng):
        with pytest.raises(CorruptFileError, match='RAW file.*Develop it'):
            check_file(path)
        with pytest.raises(CorruptFileError, match='RAW file'):
            LoadFewShotImage()(dict(img_path=str(path)))


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.tif', '.gif', '.webp', '.bmp'])
def test_cut_off_files(tmp_path, suffix):
    path = toys.as_file(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8), tmp_path / f'a{suffix}')
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CorruptFileError, match=f'a{suffix}'):
        LoadFewShotImage()(dict(img_path=str(path)))


@pytest.mark.parametrize(
    'given, message',
    [('', 'path of the image is empty'), (' ', 'empty'), ('https://a.org/b.jpg', 'nothing is fetched from the web')],
)
def test_what_is_no_path(given, message):
    with pytest.raises(ValueError, match=message):
        check_path(given)


def test_sizes_from_the_header(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    for suffix in ('.jpg', '.png', '.tif', '.webp'):
        path = toys.as_file(PHOTO, tmp_path / f'a{suffix}', exif=exif)
        assert upright_size(path) == read_rgb(path).shape[:2] == (toys.W, toys.H)


def test_a_hot_pixel_is_told(logged):
    values = GREY.astype(np.uint16) * 16
    values[0, 0] = 65535
    load_image(values, LoadFewShotImage(), 'photo 3')
    assert any('photo 3 is nearly black' in message and 'reach 65535' in message for message in logged)
