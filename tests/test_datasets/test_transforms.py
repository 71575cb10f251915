# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The transforms that mmseg lacks."""

import numpy as np
import pytest
import torch
from helpers import HEIGHT, WIDTH, jpeg, png
from PIL import Image

from mmfss.datasets.transforms import (
    CorruptFileError,
    ForegroundCrop,
    LoadFewShotAnnotations,
    LoadFewShotImage,
    PackEpisodeInputs,
    RandomGaussianBlur,
    RandomScale,
    ResizeLongSide,
    SquashResize,
)
from mmfss.registry import TRANSFORMS

BASE_MAP = np.zeros(256, np.uint8)
BASE_MAP[[2, 255]] = 1, 255


def results(h=30, w=50, labels=True):
    rng = np.random.default_rng(0)
    out = dict(img=rng.uniform(0, 255, (h, w, 3)).astype(np.float32), seg_fields=[], ori_shape=(h, w))
    if labels:
        out['gt_seg_map'] = np.zeros((h, w), np.uint8)
        out['gt_seg_map'][10:20, 10:20] = 1
        out['gt_base_map'] = out['gt_seg_map'] * 7
        out['seg_fields'] = ['gt_seg_map', 'gt_base_map']
    return out


def test_loading_makes_both_label_maps(voc):
    info = dict(
        img_path=str(jpeg(voc, 'val_01_3')),
        seg_map_path=str(png(voc, 'val_01_3')),
        class_id=1,
        base_label_map=BASE_MAP,
        seg_fields=[],
    )
    out = LoadFewShotAnnotations(with_base=True)(LoadFewShotImage()(info))
    raw = np.asarray(Image.open(png(voc, 'val_01_3')))
    assert out['img'].dtype == np.float32 and out['ori_shape'] == (HEIGHT, WIDTH)
    assert out['seg_fields'] == ['padding_map', 'gt_seg_map', 'gt_base_map']
    assert np.array_equal(out['gt_seg_map'] == 1, raw == 1)
    assert np.array_equal(out['gt_seg_map'] == 255, raw == 255)
    assert np.array_equal(out['gt_base_map'] == 1, raw == 2)
    assert set(np.unique(out['gt_base_map'])) == {0, 1, 255}
    info = dict(seg_map_path=info['seg_map_path'], class_id=1)
    out = LoadFewShotAnnotations(keep_ignore=False)(info)
    assert set(np.unique(out['gt_seg_map'])) == {0, 1} and 'gt_base_map' not in out


@pytest.mark.parametrize('cut', [40, -2])
def test_corrupt_image_is_named(own_voc, cut):
    file = jpeg(own_voc, 'val_01_0')
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(CorruptFileError, match=r'val_01_0\.jpg is corrupt'):
        LoadFewShotImage()(dict(img_path=str(file)))


def test_truncated_jpeg_with_a_whole_thumbnail_and_a_png(tmp_path):
    small = Image.new('RGB', (8, 8))
    small.save(tmp_path / 'thumb.jpg')
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(
        tmp_path / 'a.jpg', comment=(tmp_path / 'thumb.jpg').read_bytes()
    )
    file = tmp_path / 'a.jpg'
    assert LoadFewShotImage()(dict(img_path=str(file)))['img'].shape == (64, 64, 3)
    file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(CorruptFileError, match='the end of the JPEG is missing'):
        LoadFewShotImage()(dict(img_path=str(file)))
    small.save(tmp_path / 'b.png')
    assert LoadFewShotImage()(dict(img_path=str(tmp_path / 'b.png')))['img'].shape == (8, 8, 3)


def test_corrupt_mask_is_named(own_voc):
    file = png(own_voc, 'val_01_0')
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(CorruptFileError, match=r'val_01_0\.png is corrupt'):
        LoadFewShotAnnotations()(dict(seg_map_path=str(file), class_id=1))


@pytest.mark.parametrize('shape', [(1, 5), (5, 1), (1, 1)])
def test_a_mask_of_one_row_or_column_keeps_its_shape(tmp_path, shape):
    Image.fromarray(np.ones(shape, np.uint8)).save(tmp_path / 'a.png')
    out = LoadFewShotAnnotations()(dict(seg_map_path=str(tmp_path / 'a.png'), class_id=1))
    assert out['gt_seg_map'].shape == shape and out['gt_seg_map'].all()


@pytest.mark.parametrize('values', [np.ones((4, 5, 3), np.uint8), np.full((4, 5), 257, np.uint16)])
def test_an_index_mask_in_colours_or_of_16_bits_is_refused(tmp_path, values):
    Image.fromarray(values).save(tmp_path / 'a.png')
    with pytest.raises(CorruptFileError, match=r'a\.png is corrupt \(its mode is'):
        LoadFewShotAnnotations()(dict(seg_map_path=str(tmp_path / 'a.png'), class_id=1))


@pytest.mark.parametrize(
    'h, w, new', [(30, 50, (24, 40)), (50, 30, (24, 40)[::-1]), (375, 500, (32, 40)), (3, 500, (8, 40))]
)
def test_resize_long_side(h, w, new):
    out = ResizeLongSide(size=47)(results(h, w))
    assert out['img'].shape == (47, 47, 3) and out['img_shape'] == (47, 47)
    assert out['restore_shape'] == (max(h, w),) * 2 and out['ori_shape'] == (h, w)
    assert (out['img'][new[0] :] == 0).all() and (out['img'][:, new[1] :] == 0).all()
    assert (out['img'][: new[0], : new[1]] > 0).any(axis=-1).all()
    for key in ('gt_seg_map', 'gt_base_map'):
        assert (out[key] != 255)[: new[0], : new[1]].all()
        assert (out[key] == 255).sum() == 47 * 47 - new[0] * new[1]


def test_resize_long_side_of_the_paper():
    out = ResizeLongSide(size=473)(results(375, 500))
    assert (out['gt_seg_map'] != 255).sum() == 352 * 472  # 354 x 473, down to multiples of 8
    with pytest.raises(ValueError, match='size'):
        ResizeLongSide(size=4)


def test_squash_resize():
    out = SquashResize(size=40)(results())
    assert out['img'].shape == (40, 40, 3) and out['gt_base_map'].shape == (40, 40)
    assert out['restore_shape'] == out['ori_shape'] == (30, 50)


@pytest.mark.parametrize('kind', [np.uint8, np.float32])
def test_squash_resize_as_published(kind):
    """Pillow's bilinear, which averages where it shrinks; labels by floor(i * old / new)."""
    source = results(90, 50)
    source['img'] = source['img'].astype(kind)
    source['gt_seg_map'] = np.arange(90 * 50).reshape(90, 50).astype(np.uint8)
    expected = source['img'].astype(np.uint8), source['gt_seg_map'].copy()
    out = SquashResize(size=40, antialias=True)(source)
    pillow = np.asarray(Image.fromarray(expected[0]).resize((40, 40), Image.BILINEAR)).astype(float)
    assert np.abs(out['img'] - pillow).max() <= (0 if kind == np.uint8 else 2.5)
    rows, columns = np.arange(40) * 90 // 40, np.arange(40) * 50 // 40
    assert (out['gt_seg_map'] == expected[1][rows][:, columns]).all()
    assert out['img'].shape == (40, 40, 3) and out['scale_factor'] == (0.8, 40 / 90)


def test_random_scale_stays_in_range():
    np.random.seed(0)
    sizes = {RandomScale(ratio_range=(0.5, 2.0))(results(100, 60))['img'].shape[:2] for _ in range(50)}
    assert len(sizes) > 20
    assert all(50 <= h <= 200 and abs(w - 0.6 * h) <= 1 for h, w in sizes)
    out = RandomScale(ratio_range=(2, 2))(results())
    assert out['gt_seg_map'].sum() == 400 and out['gt_base_map'].sum() == 7 * 400
    with pytest.raises(ValueError, match='ratio_range'):
        RandomScale(ratio_range=(2, 1))


def test_crop_fills_around_the_centre():
    out = ForegroundCrop(crop_size=61, pad_val=(1, 2, 3))(results())
    assert out['img'].shape == (61, 61, 3) and out['img_shape'] == (61, 61)
    assert out['img'][0, 0].tolist() == [1, 2, 3] and out['gt_seg_map'][0, 0] == 255
    # 31 rows too few: 15 above, 16 below; 11 columns: 5 left, 6 right
    assert np.array_equal(out['gt_seg_map'] != 255, np.pad(np.ones((30, 50), bool), ((15, 16), (5, 6))))
    assert np.array_equal(out['gt_base_map'] == 7, out['gt_seg_map'] == 1)


def test_crop_keeps_the_foreground():
    np.random.seed(0)
    kept, plain = (
        [ForegroundCrop(crop_size=22, keep=keep)(results(60, 60))['gt_seg_map'].sum() for _ in range(100)]
        for keep in (0.85, 0)
    )
    assert np.mean(np.array(kept) >= 85) > 0.9 > 0.5 > np.mean(np.array(plain) >= 85)


def test_crop_without_foreground_and_limit_of_draws(monkeypatch):
    out = results(60, 60)
    out['gt_seg_map'][:] = 0
    assert ForegroundCrop(crop_size=22)(out)['img'].shape == (22, 22, 3)
    crop, draws = ForegroundCrop(crop_size=22), []
    monkeypatch.setattr(crop, '_draw', lambda shape: draws.append(1) or (38, 60, 38, 60))
    crop(results(60, 60))  # never meets the object
    assert len(draws) == 32  # the first and 31 more
    with pytest.raises(ValueError, match='keep'):
        ForegroundCrop(crop_size=22, keep=85)


def test_blur():
    sharp = results()
    blurred = RandomGaussianBlur(prob=1.0)(results())
    assert blurred['img'].std() < sharp['img'].std()
    assert np.array_equal(blurred['gt_seg_map'], sharp['gt_seg_map'])
    assert np.array_equal(RandomGaussianBlur(prob=0.0)(results())['img'], sharp['img'])
    with pytest.raises(ValueError, match='kernel'):
        RandomGaussianBlur(kernel=4)


def test_mmsegs_transforms_move_both_label_maps():
    np.random.seed(0)
    for config in (
        dict(type='mmseg.RandomRotate', prob=1.0, degree=10, pad_val=(1, 2, 3)),
        dict(type='mmseg.RandomFlip', prob=1.0),
    ):
        out = TRANSFORMS.build(config)(results())
        assert np.array_equal(out['gt_base_map'] == 7, out['gt_seg_map'] == 1)
        assert not np.array_equal(out['gt_seg_map'], results()['gt_seg_map'])


def test_packing():
    packed = PackEpisodeInputs()({**results(), 'class_id': 3, 'run': 0, 'restore_shape': (50, 50)})
    sample = packed['data_samples']
    assert packed['inputs'].shape == (3, 30, 50) and packed['inputs'].dtype == torch.float32
    assert sample.gt_sem_seg.data.shape == sample.gt_base_seg.data.shape == (1, 30, 50)
    assert sample.gt_base_seg.data.dtype == torch.int64
    assert (sample.class_id, sample.run, sample.restore_shape) == (3, 0, (50, 50))
