# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Files, folders, globs and videos become named images; what is wrong with them is said first."""

import api_toys as toys
import cv2
import numpy as np
import pytest
from PIL import Image

from mmfss.apis.queries import NameBook, find_queries
from mmfss.datasets.transforms import CorruptFileError


def queries(images, book=None):
    return [query for source in find_queries(images, book or NameBook()) for query in source]


def names(images):
    return [query.name for query in queries(images)]


def write_video(path, frames=5):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (80, 60))
    for i in range(frames):
        writer.write(toys.photo(i)[..., ::-1])
    writer.release()
    return path


def test_folders_and_globs(tmp_path):
    for name in ('2.png', '10.PNG', 'below/3.png'):
        toys.save(toys.photo(0), tmp_path / name)
    (tmp_path / 'notes.txt').write_text('not an image')
    assert names(tmp_path) == names(str(tmp_path)) == ['2', '10']  # numbers in order, folders below left out
    assert names(f'{tmp_path}/*.png') == ['2']
    assert names(f'{tmp_path}/**/*') == ['2', '10', '3']
    assert names([tmp_path / 'below', tmp_path / '2.png']) == ['3', '2']
    strange = toys.save(toys.photo(0), tmp_path / 'odd' / 'photo[1].png')
    assert names(str(strange)) == ['photo[1]']


def test_names_are_never_shared(tmp_path):
    paths = [tmp_path / p for p in ('x/a.png', 'y/a.png', 'y/a.jpg', 'z/y/a.png', 'z/y/a.jpg')]
    for path in paths:
        toys.save(toys.photo(0), path)
    assert names(paths) == ['a', 'y_a', 'y_a_jpg', 'y_a_png', 'a_2']
    # A later run into the same folder: names stay with their files.
    book = NameBook({'a': str(paths[1])})
    assert [q.name for q in queries(paths[:2], book)] == ['x_a', 'a']


def test_images_that_are_no_files(tmp_path):
    image = toys.photo(0)
    opened = Image.open(toys.save(image, tmp_path / 'photo.png'))
    found = queries([image, opened, image])
    assert [q.name for q in found] == ['image_000000', 'photo', 'image_000002']
    assert len({q.identity for q in found}) == 3 and {q.source for q in found} == {''}
    assert [q.identity for q in queries([image, opened, image])] == [q.identity for q in found]
    # Another image, into the folder of the first.
    assert [q.name for q in queries(toys.photo(1), NameBook({'image_000000': found[0].identity}))] == ['image_000001']


def test_videos_frame_by_frame(tmp_path):
    path = write_video(tmp_path / 'clip.avi')
    found = queries([toys.photo(7), path])
    assert [q.name for q in found] == ['image_000000', *(f'clip/{i:06d}' for i in range(5))]
    assert found[2].source == f'{path}#1'
    assert np.abs(found[2].image.astype(int) - toys.photo(1)).mean() < 12  # RGB, in order


def test_a_video_that_is_cut_off(tmp_path, logged, monkeypatch):
    monkeypatch.setattr('mmcv.VideoReader.frame_cnt', 9)
    assert len(names(write_video(tmp_path / 'clip.avi'))) == 5
    assert any('clip.avi ends after 5 of the 9 frames' in message for message in logged)


@pytest.mark.parametrize(
    'given, error, message',
    [
        ('gone.jpg', FileNotFoundError, 'no image .*gone.jpg'),
        ('gone.mp4', FileNotFoundError, 'no video .*gone.mp4'),
        ('empty', ValueError, 'folder .*empty holds no image'),
        ('above', ValueError, r"There are some below: try '.*above/\*\*/\*.png'"),
        ('*.tiff', ValueError, 'No image or video matches'),
        ('text.jpg', CorruptFileError, 'text.jpg cannot be read: it is no image'),
        ('zero.jpg', CorruptFileError, 'zero.jpg cannot be read'),
        ('text.mp4', ValueError, 'video .*text.mp4 cannot be decoded. Convert it'),
    ],
)
def test_refused(given, error, message, tmp_path):
    (tmp_path / 'empty').mkdir()
    toys.save(toys.photo(0), tmp_path / 'above' / 'below' / 'a.png')
    for name in ('text.jpg', 'text.mp4'):
        (tmp_path / name).write_text('<html>not found</html>')
    (tmp_path / 'zero.jpg').touch()
    with pytest.raises(error, match=message):
        find_queries([str(tmp_path / given)], NameBook())


def test_huge_images(tmp_path, monkeypatch):
    path = toys.save(toys.photo(0), tmp_path / 'wide.png')  # 4,800 pixels
    for limit in (4000, 2000):  # PIL warns above its limit, and refuses above twice of it
        monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', limit)
        with pytest.raises(ValueError, match='wide.png is huge: .*MAX_IMAGE_PIXELS = None.*--max-megapixels'):
            find_queries(path, NameBook())
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', None)
    assert names(path) == ['wide']


def test_what_a_folder_holds_besides_is_told(tmp_path, logged):
    for name in ('1.PNG', '2.Tif', '._1.png', 'Thumbs.db', 'notes.txt', 'phone.heic', 'clip.mp4'):
        (tmp_path / name).touch()
    for name in ('1.PNG', '2.Tif'):
        toys.save(toys.photo(0), tmp_path / name)
    (tmp_path / 'below').mkdir()
    assert names(tmp_path) == ['1', '2']
    said = next(message for message in logged if '2 images' in message)
    for part in ('2 of another suffix (notes.txt, phone.heic)', 'videos (give them by name) (clip.mp4)', '1 folders'):
        assert part in said
    assert '2 hidden or of the system (._1.png, Thumbs.db)' in said
    with pytest.raises(ValueError, match=r'holds no image .*1 folders \(below\)'):
        (tmp_path / 'other' / 'below').mkdir(parents=True)
        names(tmp_path / 'other')


@pytest.mark.parametrize('given', ['', 'https://example.org/a.jpg', 's3://bucket/a.jpg'])
def test_paths_that_are_none(given):
    with pytest.raises(ValueError, match='is empty|nothing is fetched'):
        find_queries(given, NameBook())
