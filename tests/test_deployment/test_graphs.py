# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The forms that a recorded graph takes give the results of the usual ones; torch.export records them for any size."""

import pytest
import torch
import torch.nn.functional as F
import toys
from mmseg.models.decode_heads.psp_head import PPM

from mmfss.deployment import QuerySegmenter, SupportEncoder, compare, exportable, record, structured_input
from mmfss.deployment.check import reference
from mmfss.deployment.graphs import RecordablePPM, RecordableSameConv, average_grid
from mmfss.deployment.programs import ENCODER, SEGMENTER
from mmfss.models.layers import exporting
from mmfss.models.layers.masks import gather_kept
from mmfss.models.layers.masks import resize_nearest as usual_nearest

ENSEMBLE = dict(type='BaseLearnerEnsemble', backbone=toys.RESNET, decode_head=toys.MSANET, base_head=toys.BASE_HEAD)


@pytest.mark.parametrize('side', [1, 2, 3, 6])
def test_average_grid(side):
    x = torch.randn(2, 3, 13, 17)
    torch.testing.assert_close(average_grid(x, side), F.adaptive_avg_pool2d(x, side))


@pytest.mark.parametrize('kernel', [3, 5, 7])
@pytest.mark.parametrize('size', [(9, 12), (16, 17), (30, 31)])
def test_same_padding(kernel, size):
    conv = pytest.importorskip('timm.layers').Conv2dSame(4, 8, kernel, 2)
    x = torch.randn(2, 4, *size)
    expected = conv(x)
    assert RecordableSameConv.fits(conv) and not RecordableSameConv.fits(torch.nn.Conv2d(4, 8, kernel, 2))
    conv.__class__ = RecordableSameConv
    torch.testing.assert_close(conv(x), expected)


@pytest.mark.parametrize('sizes', [((96, 65), (12, 9)), ((96, 65), (6, 5)), ((41, 10), (6, 6)), ((7, 7), (15, 20))])
def test_nearest_rounds_as_torch_does(sizes):
    x = torch.randn(2, 1, *sizes[0])
    assert torch.equal(exporting.nearest(x, sizes[1]), usual_nearest(x, sizes[1]))


def test_kept_positions_are_gathered_in_the_same_order(monkeypatch):
    features, keep = torch.randn(3, 4, 50), torch.rand(3, 50) < torch.tensor([[0.0], [0.2], [0.6]])
    expected = gather_kept(features, keep)
    monkeypatch.setattr('mmfss.models.layers.masks.exporting', lambda: True)
    for found, usual in zip(gather_kept(features, keep), expected, strict=True):
        assert torch.equal(found, usual)


def test_the_copy_computes_the_same_and_leaves_the_model_alone():
    model = toys.build(dict(ENSEMBLE, comparison_heads=dict(prior=dict(type='PriorMaskHead'))))
    clean = exportable(model)
    assert len(model.comparison_heads) == 1 and not len(clean.comparison_heads)
    assert any(type(m) is PPM for m in model.modules()) and any(type(m) is RecordablePPM for m in clean.modules())
    images, masks, query = structured_input(2, (48, 40), (41, 56))
    with torch.no_grad():
        bank = SupportEncoder(clean).encode(images, masks)
        scores = QuerySegmenter(clean, list(bank))(query, *bank.values())
    torch.testing.assert_close(scores, reference(model)(images, masks, query), atol=1e-5, rtol=0)
    expected = model.encode_support(images[None], masks[None]).part('meta').tensors
    assert list(bank) == list(expected) and all(torch.equal(bank[k], expected[k]) for k in bank)


@pytest.mark.slow
@pytest.mark.parametrize('backbone', [toys.RESNET, toys.VGG])
def test_one_recording_serves_all_sizes_and_numbers_of_supports(backbone):
    base = dict(toys.BASE_HEAD, in_channels=64 if backbone is toys.RESNET else 16)
    model = toys.build(dict(ENSEMBLE, backbone=backbone, base_head=base))
    assert model.decode_head.fixed_shots is None
    programs, names = record(exportable(model), size=64)
    encode, segment = programs[ENCODER].module(), programs[SEGMENTER].module()

    @torch.no_grad()
    def run(images, masks, query):
        return segment(query, *encode(images, masks))

    inputs = [structured_input(1, (48, 48), (48, 48)), structured_input(3, (57, 80), (96, 41), seed=1)]
    assert max(difference for difference, _ in compare(run, reference(model), inputs)) < 1e-5
    assert names[0] == 'gram' and 'block0_vectors' in names


@pytest.mark.slow
def test_learnt_shot_weights_fix_the_number_of_supports():
    model = toys.build(dict(ENSEMBLE, decode_head=dict(toys.MSANET, shot_weighting=dict(shots=5))))
    assert model.decode_head.fixed_shots == 5
    programs, _ = record(exportable(model), 5, size=48)
    images = programs[ENCODER].graph.find_nodes(op='placeholder')[-2].meta['val']
    assert images.shape[0] == 5 and not isinstance(images.shape[2], int)


@pytest.mark.slow
def test_a_model_without_base_learner():
    model = toys.build(dict(type='FewShotSegmentor', backbone=toys.RESNET, decode_head=dict(toys.MSANET)))
    programs, _ = record(exportable(model), size=48)
    images, masks, query = structured_input(2, (41, 48), (56, 48))
    with torch.no_grad():
        scores = programs[SEGMENTER].module()(query, *programs[ENCODER].module()(images, masks))
    torch.testing.assert_close(scores, reference(model)(images, masks, query), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_a_classifier_that_is_fitted_to_each_query():
    neck = dict(type='BaseLearnerNeck', base_head=toys.BASE_HEAD)
    head = dict(type='RePRIHead', recipe=dict(iterations=12))
    model = toys.build(dict(type='FewShotSegmentor', backbone=toys.RESNET, neck=neck, decode_head=head))
    programs, names = record(exportable(model), size=64)
    encode, segment = programs[ENCODER].module(), programs[SEGMENTER].module()

    @torch.no_grad()
    def run(images, masks, query):
        return segment(query, *encode(images, masks))

    inputs = [structured_input(1, (48, 48), (48, 48)), structured_input(3, (57, 80), (96, 41), seed=1)]
    assert max(difference for difference, _ in compare(run, reference(model), inputs)) < 1e-4
    assert names == ['features', 'labels']
