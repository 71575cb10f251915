# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Collated episodes become tensors."""

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmfss.models import EpisodeDataPreProcessor

MEAN, STD = (1.0, 2.0, 3.0), (2.0, 4.0, 8.0)


def sample(mask, path) -> SegDataSample:
    found = SegDataSample(metainfo=dict(img_path=path))
    found.gt_sem_seg = PixelData(data=mask[None])
    return found


def item(b: int, K: int, size=(4, 6)) -> dict:
    """An episode whose images and masks tell where they belong: 10 b for the query, 10 b + k + 1 for support k."""

    def image(value):
        return torch.stack([torch.full(size, value + c, dtype=torch.uint8) for c in range(3)])

    values = [10 * b + k + 1 for k in range(K)]
    mask = torch.zeros(size, dtype=torch.uint8)
    return dict(
        inputs=dict(query=image(10 * b), support=[image(value) for value in values]),
        data_samples=dict(query=sample(mask, f'q{b}'), support=[sample(mask + value, f's{value}') for value in values]),
    )


@pytest.mark.parametrize('B, K', [(1, 1), (3, 1), (2, 5)])
def test_supports_are_transposed_back(B, K):
    data = EpisodeDataPreProcessor((0, 0, 0), (1, 1, 1))(pseudo_collate([item(b, K) for b in range(B)]))
    query, support, mask = (data['inputs'][name] for name in ('query', 'support', 'support_mask'))
    assert query.shape == (B, 3, 4, 6) and support.shape == (B, K, 3, 4, 6) and mask.shape == (B, K, 4, 6)
    assert query.dtype == support.dtype == torch.float32 and mask.dtype == torch.int64
    assert [s.metainfo['img_path'] for s in data['data_samples']] == [f'q{b}' for b in range(B)]
    for b in range(B):
        assert query[b, :, 0, 0].tolist() == [10 * b + c for c in range(3)]
        for k in range(K):
            assert support[b, k, :, 0, 0].tolist() == [10 * b + k + 1 + c for c in range(3)]
            assert (mask[b, k] == 10 * b + k + 1).all()


def test_normalisation_after_the_channel_flip():
    data = pseudo_collate([item(1, 1)])
    rgb = EpisodeDataPreProcessor(MEAN, STD, bgr_to_rgb=True)(data)['inputs']['query'][0, :, 0, 0]
    bgr = EpisodeDataPreProcessor(MEAN, STD)(data)['inputs']['query'][0, :, 0, 0]
    assert rgb.tolist() == [(12 - 1) / 2, (11 - 2) / 4, (10 - 3) / 8]
    assert bgr.tolist() == [(10 - 1) / 2, (11 - 2) / 4, (12 - 3) / 8]


def test_float_images_are_taken_as_they_are():
    episode = item(0, 1)
    episode['inputs']['query'] = torch.full((3, 4, 6), 0.25)
    query = EpisodeDataPreProcessor((0, 0, 0), (1, 1, 1))(pseudo_collate([episode]))['inputs']['query']
    assert (query == 0.25).all()


def test_query_and_supports_may_differ_in_size():
    episode = item(0, 2, size=(6, 4))
    episode['inputs']['query'] = torch.zeros(3, 5, 7)
    inputs = EpisodeDataPreProcessor(MEAN, STD)(pseudo_collate([episode]))['inputs']
    assert inputs['query'].shape[-2:] == (5, 7) and inputs['support'].shape[-2:] == (6, 4)


def test_unequal_sizes_are_refused():
    process = EpisodeDataPreProcessor(MEAN, STD)
    with pytest.raises(ValueError, match=r'queries.*q0.*\(4, 6\).*q1.*\(5, 6\).*fixed size'):
        process(pseudo_collate([item(0, 1), item(1, 1, size=(5, 6))]))
    shots = item(0, 2)
    shots['inputs']['support'][1] = torch.zeros(3, 8, 6)
    with pytest.raises(ValueError, match=r"supports and their masks.*'s2', \(8, 6\)"):
        process(pseudo_collate([shots]))
    mask = item(0, 1)
    mask['data_samples']['support'][0].gt_sem_seg = PixelData(data=torch.zeros(1, 9, 9))
    with pytest.raises(ValueError, match=r"supports and their masks.*'s1', \(9, 9\)"):
        process(pseudo_collate([mask]))
