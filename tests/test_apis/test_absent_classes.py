# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Classes that an image does not show: presence scores of results, min_score and min_area, and what is written."""

import dataclasses
import json
from math import isnan

import api_toys as toys
import numpy as np
import pytest

from mmfss.apis import RegisteredClass
from mmfss.apis.results import Limits
from mmfss.models.segmentors.presence import without_presence


def test_a_class_below_the_score_takes_no_part():
    scores = np.array([[[0.9, 0.9, 0.2]], [[0.8, 0.1, 0.7]]], np.float16)
    assert Limits().mask(scores, (0.1, 0.9)).tolist() == [[1, 1, 2]]
    assert Limits(min_score=0.5).mask(scores, (0.1, 0.9)).tolist() == [[2, 0, 2]]
    assert Limits(min_score=0.5, threshold=0).mask(scores, (0.1, 0.2)).tolist() == [[0, 0, 0]]
    assert Limits(min_score=0.5).mask(scores, (float('nan'), 0.5)).tolist() == [[2, 0, 2]]
    assert scores[0, 0, 0] == np.float16(0.9)


def test_a_small_region_is_background():
    scores = np.full((1, 10, 10), 0.1, np.float16)
    scores[0, :2, :3] = 0.9
    assert [Limits(min_area=area).mask(scores, (1,)).sum() for area in (0, 6, 7, 0.06, 0.061)] == [6, 6, 0, 6, 0]


@pytest.mark.parametrize('limits', [dict(min_score=-1), dict(min_score=70), dict(min_area=-3), dict(min_area=np.nan)])
def test_limits_that_cannot_be_meant(inferencer, gear, limits):
    with pytest.raises(ValueError, match=next(iter(limits))):
        inferencer.stream(toys.photo(3), gear, **limits)


def test_results_hold_the_score_and_less_is_found_above_it(inferencer, gear, wheel):
    image = toys.photo(0)
    (plain,) = inferencer(image, [gear, wheel])
    assert len(plain.presence) == 2 and all(0 < value < 2 for value in plain.presence)
    assert plain.found == tuple(n for i, n in enumerate(('gear', 'wheel'), 1) if (plain.mask == i).any())
    (kept,) = inferencer(image, [gear, wheel], min_score=sum(plain.presence) / 2)
    likely, other = (0, 1) if plain.presence[0] > plain.presence[1] else (1, 0)
    alone = inferencer(image, (gear, wheel)[likely])[0].mask
    assert kept.presence == plain.presence and ('gear', 'wheel')[other] not in kept.found
    assert ((kept.mask > 0) == (alone > 0)).all() and set(np.unique(kept.mask)) <= {0, likely + 1}
    (none,) = inferencer(image, [gear, wheel], min_area=10**6)
    assert none.found == () and none.presence == plain.presence


def test_files_leave_the_object_out_and_keep_the_score(inferencer, gear, tmp_path):
    formats = ('coco', 'labelme', 'yolo')
    (shown,) = inferencer(toys.photo(3), gear, out_dir=tmp_path / 'all', formats=formats)
    assert shown.found == ('gear',)
    (result,) = inferencer(toys.photo(3), gear, out_dir=tmp_path / 'none', formats=formats, min_area=10**6)

    def read(name, path):
        return (tmp_path / name / path.format(result.name)).read_text()

    for name, there in (('all', True), ('none', False)):
        found = json.loads(read(name, 'annotations.json'))
        assert bool(found['annotations']) == there
        assert found['images'][0]['presence'] == dict(gear=pytest.approx(result.presence[0], abs=1e-4))
        assert bool(json.loads(read(name, 'labelme/{}.json'))['shapes']) == there
        assert bool(read(name, 'yolo/labels/{}.txt')) == there


def test_other_limits_are_another_result(inferencer, gear, tmp_path):
    photos = toys.photos(tmp_path / 'photos', 1)
    counts = [
        len(inferencer(photos, gear, out_dir=tmp_path / 'out', skip_existing=True, min_area=area))
        for area in (0, 0, 0.2, 0.2)
    ]
    assert counts == [1, 0, 1, 0]


def test_a_bank_of_an_older_version(inferencer, gear, tmp_path):
    old = dataclasses.replace(gear, bank=without_presence(gear.bank))
    old.save(tmp_path / 'old.pth')
    old = RegisteredClass.load(tmp_path / 'old.pth')
    (result,) = inferencer(toys.photo(3), old, out_dir=tmp_path / 'out')
    assert isnan(result.presence[0]) and (result.mask == inferencer(toys.photo(3), gear)[0].mask).all()
    assert json.loads((tmp_path / 'out/annotations.json').read_text())['images'][0]['presence'] == dict(gear=None)
    with pytest.raises(ValueError, match="bank of class 'gear' does not hold.*Register the class again"):
        inferencer.stream(toys.photo(3), old, min_score=0.5)
    assert inferencer.extend(old, toys.photo(4), toys.disc()).num_shots == 3
