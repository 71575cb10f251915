# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Boxes, polygons and points: pixels of the image, or the reason why they cannot be."""

import numpy as np
import pytest

from mmfss.apis.coordinates import pixels_of_box
from mmfss.apis.support_masks import support_mask
from mmfss.utils.notices import begin_telling

SHAPE = (60, 80)
INF, NAN = float('inf'), float('nan')


@pytest.fixture(autouse=True)
def nothing_said():
    begin_telling()


@pytest.mark.parametrize(
    'annotation, message',
    [
        (dict(box=(1, 1, INF, 90)), 'inf is no number of a pixel'),
        (dict(box=(1, 1, NAN, 90)), 'nan is no number'),
        (dict(polygon=[(1, 1), (NAN, 5), (70, 50)]), 'nan is no number'),
        (dict(points=[(INF, 5)]), 'inf is no number'),
        (dict(box=(1, 1, True, 9)), 'True is no number'),
        (dict(box=(1, 1, None, 9)), 'None is no number'),
        (dict(box=('1', '1', '20', '9')), "'1' is a text; give numbers, in pixels"),
        (dict(box=('10%', '10%', '90%', '90%')), "'10%' is a text"),
        (dict(box='1 1 20 9'), 'is no list of 4 numbers'),
        (dict(box=None), 'None is no list'),
        (dict(box=(1, 1, 20)), 'has 3 numbers, wanted are 4'),
        (dict(box=(0.1, 0.1, 0.9, 0.9)), 'these look like shares of the size. Multiply x by 80 and y by 60'),
        (dict(box=(0, 0, 1, 1)), 'shares of the size'),
        (dict(polygon=[(0.1, 0.1), (0.9, 0.1), (0.5, 0.9)]), 'shares of the size'),
        (dict(points=[(0.5, 0.5)]), 'shares of the size'),
        (dict(points=[(5, 5)], radius=0.02), 'radius is 0.02; it is 1 to 80 pixels. It looks like a share'),
        (dict(points=[(5, 5)], radius=-3), 'radius is -3'),
        (dict(points=[(5, 5)], radius=0), 'radius is 0'),
        (dict(points=[(5, 5)], radius=1e9), r'radius is 1e\+09'),
        (dict(points=[(5, 5)], radius='9'), "'9' is a text"),
        (dict(box=(30, 30, 20, 20)), r'covers no pixel.*swapped. .*give \(20, 20, 30, 30\)'),
        (dict(box=(30, 20, 10, 12)), 'width and height, add them'),
        (dict(box=(5, 5, 5, 30)), 'less than a pixel wide or high'),
        (dict(box=(5.1, 5, 5.4, 30)), 'less than a pixel wide or high'),
        (dict(box=(5, 62, 20, 78)), 'covers no pixel .*x and y look swapped'),
        (dict(polygon=[(5, 62), (9, 62), (9, 78)]), 'covers no pixel .*x and y look swapped'),
        (dict(points=[(5, 70)]), r'\(5, 70\) lies outside: x and y look swapped'),
        (dict(polygon=[(1, 1), (9, 9), (20, 20)]), 'corners lie on one line'),
        (dict(polygon=[(3, 3), (3, 3), (3, 3)]), 'corners lie on one line'),
        (dict(polygon=[1, 1, 9, 9, 1, 9]), r'flat list; give pairs: \[\(x, y\)'),
        (dict(polygon=[[1, 1, 9, 9, 1, 9]]), 'has 6 numbers, wanted are 2'),
        (dict(polygon=[]), 'has no corners'),
        (dict(polygon=[(1, 1, 1), (2, 2, 2), (3, 1, 1)]), 'has 3 numbers, wanted are 2'),
        (dict(polygon=[(1, 1), 5, (3, 1)]), '5 is no list of 2 numbers'),
        (dict(polygon='1,1 9,9 1,9'), 'is no list of corners'),
        (dict(polygon=[(1, 1), (1e12, 5), (70, 50)]), 'lies far outside'),
        (dict(points=(5, 6)), 'is one pair; give a list of pairs'),
        (dict(points=[(5, 6, 7)]), 'has 3 numbers'),
    ],
)
def test_refused_in_one_line(annotation, message):
    with pytest.raises(ValueError, match=message) as refused:
        support_mask(annotation, SHAPE, 'photo.jpg')
    text = str(refused.value)
    assert 'photo.jpg' in text and '\n' not in text and len(text) < 400


def test_what_reaches_out_is_cut_with_a_word(logged):
    assert support_mask(dict(box=(-10, -10, 500, 500)), SHAPE, 'photo.jpg').all()
    assert support_mask(dict(polygon=[(-30, -30), (60, 10), (10, 50)]), SHAPE, 'photo.jpg').any()
    assert sum('photo.jpg reaches out of the image of 80x60 pixels' in message for message in logged) == 2
    logged.clear()
    # At the frame itself nothing is cut.
    support_mask(dict(box=(0, 0, 80, 60)), SHAPE, 'photo.jpg')
    support_mask(dict(polygon=[(0, 0), (79, 0), (79, 59), (0, 59)]), SHAPE, 'photo.jpg')
    assert not logged


def test_per_cent_is_told(logged):
    support_mask(dict(box=(10.5, 20.25, 45.8, 60.2)), (1080, 1920), 'photo.jpg')
    assert any('If they are per cent, multiply x by 19.2 and y by 10.8' in message for message in logged)
    logged.clear()
    support_mask(dict(box=(10, 20, 45, 60)), (1080, 1920), 'photo.jpg')
    support_mask(dict(box=(10.5, 20.25, 450.8, 600.2)), (1080, 1920), 'photo.jpg')
    assert not logged


def test_what_is_taken():
    triangle = [(10, 10), (50, 10), (10, 50)]
    mask = support_mask(dict(polygon=triangle), SHAPE, 'photo.jpg')
    for form in (np.array(triangle), np.array(triangle)[:, None], [triangle], [list(map(list, triangle))]):
        assert np.array_equal(support_mask(dict(polygon=form), SHAPE, 'photo.jpg'), mask)
    assert support_mask(dict(points=[(1, 1)]), SHAPE, 'photo.jpg')[1, 1]  # a click near the corner
    assert support_mask(dict(points=np.array([[20, 30]]), radius=np.int64(4)), SHAPE, 'photo.jpg').any()
    bow = support_mask(dict(polygon=[(10, 10), (50, 50), (50, 10), (10, 50)]), SHAPE, 'photo.jpg')
    assert bow[30, 12] and bow[30, 48] and not bow[12, 30] and bow.sum() > 500
    assert support_mask(dict(box=(0, 0, 1, 1)), (1, 1), 'dot.png').all()
    assert pixels_of_box([1.4, 1.6, 1e300, 9], SHAPE, 'it') == (1, 2, 80, 9)
