# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""HSNet through the model tester, and against the released code."""

from pathlib import Path

import golden
import pytest
import torch
import torch.nn.functional as F
import toys
from helpers import load_script
from model_tester import ModelTester
from torch import nn

from mmfss.conversion import ConversionError, recognise
from mmfss.conversion.hsnet import convert_hsnet
from mmfss.models.layers import resize
from mmfss.models.layers.center_pivot import CenterPivotConv4d, VolumeNorm
from mmfss.models.layers.foreground_pivot import pivot_foreground
from mmfss.models.layers.hypercorrelation import block_vectors, encode_blocks, hypercorrelation, unit_length
from mmfss.models.layers.voting import vote

REPO = Path(__file__).resolve().parents[2]
# Three stages that halve their maps, and strides that leave support planes of 2x2 of images of 41 pixels.
RESNET = dict(toys.RESNET, strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1))
HSNET = dict(type='HSNetHead', strides=dict(layer4=(1, 1, 1), layer3=(2, 1, 1), layer2=(2, 2, 1)))


class TestHSNet(ModelTester):
    head = HSNET
    backbone = RESNET


class TestHSNetOnVGG(ModelTester):
    """Pools that round down, and support planes of one position."""

    head = dict(type='HSNetHead')
    backbone = dict(type='PlainVGG', output_stride=32, widths=(8, 8, 16, 16, 16))


def plain_pivot(conv, volume):
    """The center-pivot convolution as the paper has it, position by position."""
    B, C, ha, wa, hb, wb = volume.shape
    rows, columns = (range(0, side, conv.stride) for side in (hb, wb))
    on_query = torch.stack(
        [torch.stack([conv.query(volume[..., i, j]) for j in columns], dim=-1) for i in rows], dim=-2
    )
    on_support = torch.stack(
        [torch.stack([conv.support(volume[:, :, i, j]) for j in range(wa)], dim=2) for i in range(ha)], dim=2
    )
    return on_query + on_support


@pytest.mark.parametrize('stride, kernel, side', [(1, 3, 2), (1, 3, 5), (2, 3, 7), (4, 5, 13)])
@torch.no_grad()
def test_center_pivot_convolution(stride, kernel, side):
    torch.manual_seed(0)
    conv, volume = CenterPivotConv4d(3, 8, kernel, stride), torch.randn(2, 3, 4, 5, side, side)
    found, expected = conv(volume), plain_pivot(conv, volume)
    assert found.shape == (2, 8, 4, 5, -(-side // stride), -(-side // stride))
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize('stride, kernel, side', [(2, 3, 9), (4, 5, 17), (4, 5, 18)])
@pytest.mark.parametrize('place', [(0, 0, 60, 70), (100, 40, 104, 180), (230, 250, 257, 257), (0, 0, 257, 257), None])
@torch.no_grad()
def test_only_the_foreground_is_computed(stride, kernel, side, place):
    torch.manual_seed(0)
    channels = (4, 6)
    queries = [unit_length(toys.smooth(2, C, 3, 4, seed=C, cell=2)) for C in channels]
    supports = [toys.smooth(2, C, side, side, seed=C + 9, cell=3) for C in channels]
    mask = torch.zeros(2, 1, 257, 257)
    if place is not None:
        top, left, bottom, right = place
        mask[1, :, top:bottom, left:right] = 1
    support = encode_blocks(supports, mask)
    conv = CenterPivotConv4d(2, 8, kernel, stride)
    expected = conv(hypercorrelation(queries, support, (side, side)))
    found = pivot_foreground(conv, queries, block_vectors(support), resize(mask, (side, side))[:, 0] > 0)
    assert torch.allclose(found, expected, atol=1e-6)


def test_a_norm_of_a_volume_is_groupnorm():
    torch.manual_seed(0)
    volume = torch.randn(2, 8, 5, 6, 3, 3) * 3 + 40  # far from zero
    norm, plain = VolumeNorm(4, 8), nn.GroupNorm(4, 8)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    plain.load_state_dict(norm.state_dict())
    assert torch.allclose(norm(volume), plain(volume), atol=1e-4)


def test_voting_is_relative_to_the_most_voted_pixel():
    def votes(*counts):
        """(1, 5, 2, 1, pixels) in which so many shots see a pixel."""
        seen = torch.tensor([[k < n for n in counts] for k in range(5)]).float()
        return torch.stack([0.5 - seen, seen - 0.5], dim=1).view(1, 5, 2, 1, -1)

    def pred(*counts):
        return vote(votes(*counts)).argmax(1).flatten().tolist()

    assert pred(5, 4, 3, 2, 0) == [1, 1, 1, 0, 0]
    assert pred(3, 2, 1, 0) == [1, 1, 0, 0]  # 2 of 5 suffice
    assert pred(4, 2, 1, 0) == [1, 1, 0, 0]  # exactly half is foreground
    assert pred(1, 0) == [1, 0] and pred(0, 0) == [0, 0]
    assert torch.equal(vote(votes(1, 0)[:, :1]), votes(1, 0)[:, 0])


def test_shots_vote_at_image_size():
    model = toys.build(dict(type='FewShotSegmentor', backbone=RESNET, decode_head=HSNET))
    inputs = toys.episodes(2, 3)
    with torch.no_grad():
        bank = model.encode_support(inputs['support'], inputs['support_mask'])
        scores = model.segment(model.extract_feat(inputs['query']), bank)['final']
        assert scores.shape == (2, 2, 41, 41)
        shots = [
            model(dict(inputs, support=s, support_mask=m), mode='tensor')['final'] for s, m in shot_by_shot(inputs)
        ]
    assert torch.equal(scores.argmax(1), vote(torch.stack(shots, dim=1)).argmax(1))


def shot_by_shot(inputs):
    return zip(inputs['support'].split(1, dim=1), inputs['support_mask'].split(1, dim=1), strict=True)


@torch.no_grad()
def test_pairs_in_a_batch_are_the_pairs_one_by_one():
    """As a GPU has them, whose foregrounds share a bounding box."""
    model = toys.build(dict(type='FewShotSegmentor', backbone=RESNET, decode_head=HSNET))
    inputs = toys.episodes(4)
    inputs['support_mask'][0] = 0
    bank = model.encode_support(inputs['support'], inputs['support_mask']).part('meta')
    features = model.encode_query(model.extract_feat(inputs['query'])).heads['meta']
    head = model.decode_head
    together = head.segment_pairs(features, {name: t[:, 0] for name, t in bank.tensors.items()})
    assert torch.allclose(together, head.compare(features, bank)['shot_logits'][:, 0], atol=1e-5)


@torch.no_grad()
def test_bfloat16_at_inference_correlates_in_it(monkeypatch):
    monkeypatch.setattr('mmfss.utils.precision.fast_bfloat16', lambda device: True)
    model = toys.build(dict(type='FewShotSegmentor', backbone=RESNET, decode_head=HSNET))
    inputs = toys.episodes(2)
    exact = model(inputs, mode='tensor')['final']
    model.precision = 'bfloat16'
    bank = model.encode_support(inputs['support'], inputs['support_mask']).part('meta')
    assert bank['layer3_vectors_0'].dtype == torch.bfloat16
    rounded = model(inputs, mode='tensor')['final']
    assert rounded.dtype == torch.float32 and 0 < (rounded - exact).norm() < 0.05 * exact.norm()


def test_void_is_background_in_the_loss_or_left_out():
    config = dict(type='FewShotSegmentor', backbone=RESNET, decode_head=HSNET)
    inputs, queries = toys.episodes(2), toys.samples(2, (41, 41))
    labels = torch.cat([sample.gt_sem_seg.data for sample in queries])
    for ignore_void, expected in ((False, labels.where(labels != 255, 0)), (True, labels)):
        model = toys.build(dict(config, decode_head=dict(HSNET, ignore_void=ignore_void)))
        final = model(inputs, mode='tensor')['final']
        assert torch.allclose(
            model.loss(inputs, queries)['loss_final'], F.cross_entropy(final, expected, ignore_index=255)
        )


def test_several_shots_in_training_are_the_mean_of_their_losses():
    model = toys.build(dict(type='FewShotSegmentor', backbone=RESNET, decode_head=HSNET))
    inputs, queries = toys.episodes(2, 3), toys.samples(2, (41, 41))
    joint = model.loss(inputs, queries)['loss_final']
    each = [model.loss(dict(inputs, support=s, support_mask=m), queries)['loss_final'] for s, m in shot_by_shot(inputs)]
    assert torch.allclose(joint, sum(each) / 3)


def test_without_masking_the_mask_does_not_matter():
    model = toys.build(dict(type='FewShotSegmentor', backbone=RESNET, decode_head=dict(HSNET, mask_support=False)))
    inputs = toys.episodes(1)
    with torch.no_grad():
        other = model(dict(inputs, support_mask=1 - inputs['support_mask'] % 255), mode='tensor')['final']
        assert torch.equal(model(inputs, mode='tensor')['final'], other)


def test_support_planes_that_cannot_be_added_are_refused():
    head = dict(HSNET, strides=dict(layer4=(1, 1, 1), layer3=(1, 1, 1), layer2=(1, 1, 1)))
    model = toys.build(dict(type='FewShotSegmentor', backbone=RESNET, decode_head=head))
    with torch.no_grad(), pytest.raises(ValueError, match=r'\(2, 2\) and \(3, 3\) positions.*`strides`'):
        model(toys.episodes(1), mode='tensor')


def test_released_weights_round_trip():
    """Every released key finds its place, the ImageNet classifier is dropped, the variant is told."""
    released = golden.released_weights('hsnet_r50_pascal_1shot')
    state = {f'module.{key}': value for key, value in released.items()}
    assert recognise(state).name == 'hsnet'
    variant, weights = convert_hsnet(state, 'coco')
    assert (variant.backbone, variant.dataset, variant.config) == ('r50', 'coco', 'configs/hsnet/r50_coco_1shot.py')
    assert len(weights) == len(released) - 2 and not any('fc.' in key for key in weights)
    for ours, theirs in (
        ('backbone.layer3.5.conv2.weight', 'backbone.layer3.5.conv2.weight'),
        ('decode_head.encoders.layer2.3.query.weight', 'hpn_learner.encoder_layer2.3.conv1.weight'),
        ('decode_head.encoders.layer4.7.bias', 'hpn_learner.encoder_layer4.7.bias'),
        ('decode_head.mixers.layer2.6.support.bias', 'hpn_learner.encoder_layer3to2.6.conv2.bias'),
        ('decode_head.mixers.layer3.0.query.bias', 'hpn_learner.encoder_layer4to3.0.conv1.bias'),
        ('decode_head.classify.2.weight', 'hpn_learner.decoder2.2.weight'),
    ):
        assert weights[ours] is released[theirs]
    with pytest.raises(ConversionError, match='--dataset'):
        convert_hsnet(state)
    with pytest.raises(ConversionError, match='unknown keys.*hpn_learner.more'):
        convert_hsnet(dict(state, **{'module.hpn_learner.more': torch.ones(1)}), 'pascal')


def test_the_converter_on_rebuilt_released_weights(tmp_path, monkeypatch, capsys):
    """The file as released: a bare state dict of a parallel run, the ImageNet classifier with it."""
    released = golden.released_weights('hsnet_r50_pascal_1shot')
    torch.save({f'module.{key}': value for key, value in released.items()}, tmp_path / 'best_model.pt')
    path = REPO / 'tools/model_converters/hsnet2mmfss.py'
    arguments = [str(path), str(tmp_path / 'best_model.pt'), str(tmp_path / 'ours.pth'), '--dataset', 'fss']
    monkeypatch.setattr('sys.argv', arguments)
    load_script(path).main()
    assert 'configs/hsnet/r50_fss_1shot.py' in capsys.readouterr().out
    ours = torch.load(tmp_path / 'ours.pth', weights_only=True)
    _, expected = convert_hsnet(released, 'fss')
    assert ours['state_dict'].keys() == expected.keys() and ours['meta']['dataset_meta']['shots'] == 1
    assert all(torch.equal(ours['state_dict'][key], value) for key, value in expected.items())


@pytest.mark.parametrize('case', golden.cases('hsnet'))
def test_golden_case(case):
    golden.assert_parity(case)
