# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What users give as annotations of supports."""

import api_toys as toys
import numpy as np
import pytest
from PIL import Image

from mmfss.apis.support_masks import support_mask

SHAPE = (60, 80)


def labels_of(annotation, shape=SHAPE):
    labels = support_mask(annotation, shape, 'photo.jpg')
    assert labels.shape == shape and labels.dtype == np.uint8
    return labels


def indices(**parts) -> np.ndarray:
    """A mask whose columns have the given values: v7=3 is three columns of 7."""
    mask, start = np.zeros(SHAPE, np.uint8), 0
    for name, columns in parts.items():
        mask[:, start : start + columns] = int(name[1:])
        start += columns
    return mask


@pytest.mark.parametrize('kind', ['array', 'path', 'pil', 'palette', 'rgb', 'bits'])
def test_masks_of_every_kind(kind, tmp_path):
    disc = toys.disc()
    white = disc.astype(np.uint8) * 255
    palette = Image.fromarray(disc.astype(np.uint8), mode='P')
    palette.putpalette([0, 0, 0, 200, 30, 30])
    annotation = dict(
        array=disc,
        path=str(toys.save(white, tmp_path / 'mask.png')),
        pil=Image.fromarray(white),
        palette=palette,
        rgb=Image.fromarray(white).convert('RGB'),
        bits=Image.fromarray(disc),
    )[kind]
    assert np.array_equal(labels_of(annotation), disc)


def test_values_of_masks():
    assert np.unique(labels_of(indices(v255=9))).tolist() == [0, 1]
    assert labels_of(np.full(SHAPE, 255, np.uint8)).all() and labels_of(np.ones(SHAPE, int)).all()
    # 255 beside 1 is left out, as in VOC.
    voc = labels_of(indices(v1=9, v255=2))
    assert (voc[:, :9] == 1).all() and (voc[:, 9:11] == 255).all() and not voc[:, 11:].any()
    chosen = labels_of(dict(mask=indices(v3=4, v7=5, v255=2), value=7))
    assert (chosen[:, 4:9] == 1).all() and (chosen[:, 9:11] == 255).all() and not chosen[:, :4].any()
    assert (labels_of(dict(mask=indices(v255=2), value=255))[:, :2] == 1).all()
    assert labels_of(dict(mask=indices(v1=2))).any()


def test_boxes_polygons_points():
    box = labels_of(dict(box=(10, 5, 30, 25)))
    assert box[5:25, 10:30].all() and box.sum() == 400
    assert labels_of(dict(box=(-10, -10, 500, 500))).all()  # cut at the frame
    triangle = labels_of(dict(polygon=[(10, 10), (50, 10), (10, 50)]))
    assert triangle[15, 15] and not triangle[45, 45] and 700 < triangle.sum() < 900
    two = labels_of(dict(polygon=[[(0, 0), (9, 0), (9, 9), (0, 9)], [(20, 20), (29, 20), (29, 29), (20, 29)]]))
    assert two[5, 5] and two[25, 25] and two.sum() == 200
    points = labels_of(dict(points=[(20, 30), (60.4, 30)]))
    assert points[30, 20] and points[30, 60] and points.sum() < 40
    assert labels_of(dict(points=[(20, 30)], radius=10)).sum() > 250


@pytest.mark.parametrize(
    'annotation, message',
    [
        (np.zeros(SHAPE, bool), 'mask of photo.jpg is empty.*Mark it'),
        (indices(v255=0), 'is empty'),
        (np.zeros((80, 60), bool), '60x80 pixels, photo.jpg is 80x60.*sides are swapped'),
        (np.zeros((30, 40), bool), '40x30 pixels, photo.jpg is 80x60. Draw the mask on the image itself'),
        (indices(v3=2, v7=2), r'holds the values 0, 3, 7; .*value=3\), on the command line --mask-value 3'),
        (np.arange(4800).reshape(SHAPE) % 200, 'and 192 more; .*Grey edges come from JPEG or smoothing'),
        (dict(mask=indices(v3=2), value=5), 'no pixel of value 5; it holds 0, 3'),
        (toys.photo(0), 'is in colours'),
        (np.zeros((1, 1, 60, 80)), r'shape \(1, 1, 60, 80\)'),
        (dict(box=(90, 5, 95, 9)), r'box \(90, 5, 95, 9\) covers no pixel of photo.jpg, which is 80x60'),
        (dict(box=(30, 30, 20, 20)), 'covers no pixel'),
        (dict(box=(1, 2, 3)), 'cannot be drawn'),
        (dict(polygon=[(1, 1), (9, 9)]), 'fewer than three corners'),
        (dict(points=[(80, 10)]), r'\(80, 10\) lies outside'),
        (dict(points=[]), 'covers no pixel'),
    ],
)
def test_refused(annotation, message):
    with pytest.raises(ValueError, match=message):
        support_mask(annotation, SHAPE, 'photo.jpg')


@pytest.mark.parametrize(
    'annotation', [7, dict(), dict(circle=3), dict(box=(1, 2, 3, 4), points=[(1, 2)]), dict(box=(1, 2, 3, 4), radius=3)]
)
def test_refused_kinds(annotation):
    with pytest.raises(TypeError, match='photo.jpg is a .*give a path, an array, a PIL image'):
        support_mask(annotation, SHAPE, 'photo.jpg')


def test_refused_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='no mask .*gone.png .for photo.jpg'):
        support_mask(tmp_path / 'gone.png', SHAPE, 'photo.jpg')
    broken = tmp_path / 'broken.png'
    broken.write_bytes(toys.save(toys.photo(0), tmp_path / 'whole.png').read_bytes()[:500])
    with pytest.raises(ValueError, match='mask .*broken.png cannot be read.*PNG again'):
        support_mask(broken, SHAPE, 'photo.jpg')


def test_an_object_that_the_network_cannot_see(inferencer):
    mask = np.zeros((2000, 2000), bool)
    mask[1001, 1001] = True
    with pytest.raises(ValueError, match="support 1 of class 'speck' is too small.*1 pixels is left"):
        inferencer.register('speck', np.zeros((2000, 2000, 3), np.uint8), mask)
