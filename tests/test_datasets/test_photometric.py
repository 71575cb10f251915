# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""VAT's changes of colour, each against its definition."""

import numpy as np
import pytest

from mmfss.datasets.transforms import RandomPhotometry, photometric


class Drawn:
    """A generator that gives what a test wants, in order."""

    def __init__(self, *values):
        self.values = list(values)

    def uniform(self, low, high, size=None):
        found = self.values.pop(0)
        assert np.all(low <= np.asarray(found)) and np.all(np.asarray(found) <= high)
        return found

    def permutation(self, count):
        return np.arange(count)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)


def test_changes_of_single_values(image):
    wide = image.astype(int)
    assert np.array_equal(photometric.posterize(image, Drawn()), wide // 16 * 16)
    assert np.array_equal(photometric.solarize(image, Drawn()), np.where(wide < 128, wide, 255 - wide))
    found = photometric.brightness_contrast(image, Drawn(1.2, -0.1))
    assert np.array_equal(found, (image * np.float32(1.2) - 25.5).clip(0, 255).astype(np.uint8))


def test_gray_and_equalised(image):
    gray = photometric.to_gray(image, Drawn())
    blue, green, red = image.astype(float).transpose(2, 0, 1)
    assert np.abs(gray - (0.114 * blue + 0.587 * green + 0.299 * red)[..., None]).max() < 1
    flat = photometric.equalize(
        np.full((4, 4, 3), 100, np.uint8) + np.arange(16, dtype=np.uint8).reshape(4, 4, 1), Drawn()
    )
    assert flat.min() == 0 and flat.max() == 255 and np.unique(np.diff(np.sort(flat[..., 0].ravel()))).tolist() == [17]


def test_sharpen(image):
    found = photometric.sharpen(image, Drawn(0.3, 0.75))
    around = sum(image[3 + y, 2 + x].astype(float) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0))
    expected = 0.7 * image[3, 2] + 0.3 * (8.75 * image[3, 2] - around)
    assert np.abs(found[3, 2] - expected.clip(0, 255)).max() <= 0.51


def test_colour_jitter_changes_one_thing_at_a_time(image):
    def jitter(brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0):
        return photometric.color_jitter(image, Drawn(np.array([brightness, contrast, saturation]), hue)).astype(float)

    plain = jitter()  # the way to hue and back rounds
    assert np.abs(plain - image).max() <= 4
    assert np.abs(jitter(brightness=0.8) - 0.8 * image).max() <= 4
    mean = photometric.to_gray(image, Drawn())[..., 0].mean()
    assert np.abs(jitter(contrast=0.8) - (0.8 * image + 0.2 * mean)).max() <= 4
    gray = photometric.to_gray(image, Drawn()).astype(float)
    assert np.abs(jitter(saturation=0.8) - (0.8 * image + 0.2 * gray)).max() <= 4
    red = np.full((2, 2, 3), (0, 0, 255), np.uint8)
    turned = photometric.color_jitter(red, Drawn(np.ones(3), 1 / 6))  # 60 degrees on: yellow
    assert turned[0, 0].tolist() == [0, 255, 255]


def test_each_change_has_its_probability(image, monkeypatch):
    seen = []
    changes = [lambda x, random, i=i: (seen.append(i), x)[1] for i in range(len(photometric.CHANGES))]
    assert len(changes) == 7
    monkeypatch.setattr(photometric, 'CHANGES', changes)
    np.random.seed(0)
    for _ in range(1000):
        RandomPhotometry()(dict(img=image))
    assert all(abs(seen.count(i) / 1000 - 0.2) < 0.05 for i in range(7))
    seen.clear()
    RandomPhotometry(prob=1)(dict(img=image))
    assert seen == list(range(7))


def test_label_maps_stay_and_draws_follow_numpys_state(image):
    def changed():
        np.random.seed(3)
        return RandomPhotometry(prob=0.5)(dict(img=image.copy(), gt_seg_map='untouched'))

    assert np.array_equal(changed()['img'], changed()['img']) and changed()['gt_seg_map'] == 'untouched'
    assert changed()['img'].dtype == np.uint8 and not np.array_equal(changed()['img'], image)


def test_wrong_images_and_probabilities_are_refused(image):
    with pytest.raises(TypeError, match='to_float32=False'):
        RandomPhotometry()(dict(img=image.astype(np.float32)))
    with pytest.raises(ValueError, match='prob'):
        RandomPhotometry(prob=1.5)
