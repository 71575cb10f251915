# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""PANet through the model tester, against the released code, and what only it has: the alignment loss."""

from pathlib import Path

import golden
import pytest
import torch
import torch.nn.functional as F
import toys
from helpers import load_script
from model_tester import ModelTester

from mmfss.conversion import ConversionError, recognise
from mmfss.conversion.panet import convert_panet
from mmfss.deployment import compare, exportable, record, structured_input
from mmfss.deployment.check import reference
from mmfss.deployment.programs import ENCODER, SEGMENTER
from mmfss.models.layers.alignment import alignment_loss
from mmfss.models.layers.half_pixel import average_at_full_size

VGG = dict(type='PlainVGG', widths=(8, 8, 16, 16, 16), dilations=(1, 1, 1, 1, 2), last_relu=False, last_pool=False)
PANET = dict(type='PANetHead')
CONFIG = dict(type='FewShotSegmentor', backbone=VGG, decode_head=PANET, freeze_backbone=False)


class TestPANet(ModelTester):
    head = PANET
    backbone = VGG
    freeze_backbone = False
    ignores_void = True  # as background
    half_tolerance = 3e-2  # a cosine times 20 of features that autocast rounds


@pytest.mark.parametrize('size', [(41, 41), (57, 33)])
def test_the_carried_mask_averages_what_resizing_would(size):
    features, mask = toys.smooth(3, 4, 6, 7, seed=0).double(), torch.rand(3, 1, *size).double()
    mask[2] = 0
    full = F.interpolate(features, size, mode='bilinear', align_corners=False)
    expected = (full * mask).sum((2, 3)) / (mask.sum((2, 3)) + 1e-5)
    assert torch.allclose(average_at_full_size(features.float(), mask.float(), 1e-5).double(), expected, atol=1e-5)


def plain_alignment(query, scores, supports, labels, scale):
    """The alignment loss of one episode, with a loop for each of its sums."""
    predicted, total = scores.argmax(0), 0.0
    W, K = supports.shape[:2]
    vectors = [(query * (predicted == c)).sum((1, 2)) / ((predicted == c).sum() + 1e-5) for c in range(1 + W)]
    for w in range(W):
        if not (predicted == 1 + w).any():
            continue
        for k in range(K):
            cosines = [F.cosine_similarity(supports[w, k], vectors[c][:, None, None], 0) for c in (0, 1 + w)]
            logits = F.interpolate(scale * torch.stack(cosines)[None], labels.shape[-2:], mode='bilinear')
            total = total + F.cross_entropy(logits, labels[w, k][None].long(), ignore_index=255) / K / W
    return total


@pytest.mark.parametrize('W, K', [(1, 1), (1, 3), (2, 2), (3, 1)])
def test_alignment_loss_is_the_sum_over_classes_and_shots(W, K):
    generator = torch.Generator().manual_seed(W)
    query, supports = toys.smooth(2, 5, 6, 7, seed=1), toys.smooth(2, W, K, 5, 6, 7, seed=2)
    scores = torch.randn(2, 1 + W, 6, 7, generator=generator)
    scores[1, -1] = -99  # the last class is predicted nowhere in the second query
    labels = torch.tensor([0, 1, 255])[torch.randint(3, (2, W, K, 41, 33), generator=generator)]
    labels[0, 0, 0] = 255  # nothing to segment
    expected = [plain_alignment(*parts, 20) for parts in zip(query, scores, supports, labels, strict=True)]
    found = alignment_loss(query, scores, supports, labels, 20)
    expected = torch.stack([torch.as_tensor(e).nan_to_num() for e in expected])
    if W * K > 1:  # the plain mean over no pixel is NaN and takes the episode with it
        expected, found = expected[1], alignment_loss(query[1:], scores[1:], supports[1:], labels[1:], 20)
    assert torch.allclose(found, expected.mean(), rtol=1e-5)


def plain_vector(feature, mask):
    """Feature (C, h, w) resized up to a mask (H, W), averaged under it."""
    full = F.interpolate(feature[None], mask.shape, mode='bilinear', align_corners=False)[0]
    return (full * mask).sum((1, 2)) / (mask.sum() + 1e-5)


@torch.no_grad()
@pytest.mark.parametrize('W, K', [(1, 2), (2, 1), (2, 2)])
def test_several_classes_are_what_the_paper_says_image_by_image(W, K):
    """Both classes in one image, void, three episodes, no square: against loops over episodes, ways and shots."""
    size = (41, 57)
    model = toys.build(dict(CONFIG, type='NWaySegmentor')).train()
    inputs = toys.episodes(3, W * K, size)
    inputs.update({key: inputs[key].unflatten(1, (W, K)) for key in ('support', 'support_mask')})
    masks = inputs['support_mask']
    for w in range(W):
        masks[:, w][masks[:, w] == 1] = 1 + w
        masks[:, w, :, :9, :9] = 1 + (w + 1) % W  # another class of the episode, where there is one
    masks[1, 0, 0][masks[1, 0, 0] == 1] = 0  # an empty mask
    samples = toys.samples(3, size)
    for sample in samples:
        right = sample.gt_sem_seg.data[..., 30:]
        right[right == 1] = W
    losses = model.loss(inputs, samples)

    def features(images):
        return model.backbone.extract_blocks(images, ('layer4',), blocks=False)['layer4']

    total, align = [], []
    for b in range(3):
        supports = features(inputs['support'][b].flatten(0, 1)).unflatten(0, (W, K))
        query = features(inputs['query'][b : b + 1])[0]
        own = [[(masks[b, w, k] == 1 + w).float() for k in range(K)] for w in range(W)]
        rest = [[((masks[b, w, k] == 0) | (masks[b, w, k] == 255)).float() for k in range(K)] for w in range(W)]
        vectors = [[[plain_vector(supports[w, k], m[w][k]) for k in range(K)] for w in range(W)] for m in (rest, own)]
        means = [[sum(ways) / K for ways in side] for side in vectors]
        prototypes = [sum(means[0]) / W, *means[1]]
        scores = 20 * torch.stack([F.cosine_similarity(query, p[:, None, None], 0) for p in prototypes])
        logits = F.interpolate(scores[None], size, mode='bilinear', align_corners=False)
        total.append((logits, samples[b].gt_sem_seg.data))
        targets = [
            [torch.where(o + r > 0, o, 255.0) for o, r in zip(*sides, strict=True)]
            for sides in zip(own, rest, strict=True)
        ]
        labels = torch.stack([torch.stack(shots) for shots in targets])
        align.append(plain_alignment(query, scores, supports, labels, 20))
    logits, truth = (torch.cat(part) for part in zip(*total, strict=True))
    assert torch.allclose(losses['loss_final'], F.cross_entropy(logits, truth, ignore_index=255), rtol=1e-5)
    assert torch.allclose(losses['loss_align'], sum(align) / 3, rtol=1e-5)
    assert torch.allclose(model.eval()(inputs)['final'], logits, atol=1e-3)


def test_alignment_reaches_queries_and_supports_and_can_be_left_out():
    inputs, samples = toys.episodes(2, 2), toys.samples(2, (41, 41))
    model = toys.build(CONFIG).train()
    losses = model.loss(inputs, samples)
    assert losses.keys() == {'loss_final', 'loss_align'}
    losses['loss_align'].backward()
    assert all(p.grad.abs().sum() > 0 for p in model.backbone.parameters())
    plain = toys.build(dict(CONFIG, decode_head=dict(PANET, align_weight=0))).train()
    found = plain.loss(inputs, samples)
    assert found.keys() == {'loss_final'} and torch.allclose(found['loss_final'], losses['loss_final'])
    twice = toys.build(dict(CONFIG, decode_head=dict(PANET, align_weight=2))).train().loss(inputs, samples)
    assert torch.allclose(twice['loss_align'], 2 * losses['loss_align'])


@torch.no_grad()
def test_void_of_a_support_is_background_and_an_empty_mask_finds_nothing():
    model, inputs = toys.build(CONFIG), toys.episodes(1)
    bank = model.encode_support(inputs['support'], torch.full_like(inputs['support_mask'], 255)).part('meta')
    assert (bank['foreground'] == 0).all() and (bank['background'] != 0).any()
    assert set(bank.tensors) == {'foreground', 'background'}, 'what only training reads is not kept'
    bank = model.encode_support(inputs['support'], torch.zeros_like(inputs['support_mask']))
    scores = model.segment(model.extract_feat(inputs['query']), bank)['final']
    assert scores.shape == (1, 2, 41, 41) and (scores[:, 1] == 0).all()


@pytest.mark.slow
def test_one_recording_serves_all_sizes_and_numbers_of_supports():
    model = toys.build(CONFIG)
    programs, names = record(exportable(model), size=64)
    encode, segment = programs[ENCODER].module(), programs[SEGMENTER].module()
    inputs = [structured_input(1, (48, 48), (48, 48)), structured_input(3, (57, 80), (96, 41), seed=1)]
    with torch.no_grad():
        differences = compare(
            lambda images, masks, query: segment(query, *encode(images, masks)), reference(model), inputs
        )
    assert max(difference for difference, _ in differences) < 1e-4 and list(names) == ['foreground', 'background']


def test_released_weights_do_not_say_their_data_set():
    state = {f'module.{key}': value for key, value in golden.released_weights('panet_vgg16_pascal_5shot').items()}
    assert recognise(state).name == 'panet' and len(state) == 26
    variant, weights = convert_panet(state, 'coco')
    assert (variant.backbone, variant.dataset, variant.config) == ('vgg16', 'coco', 'configs/panet/vgg16_coco_1shot.py')
    assert set(weights) == {f'backbone.{key}' for key in toys.build(VGG).state_dict()}
    with pytest.raises(ConversionError, match='--dataset'):
        convert_panet(state)
    with pytest.raises(ConversionError, match='unknown keys .*classifier'):
        convert_panet({**state, 'classifier.weight': torch.zeros(1)}, 'pascal')


def test_the_tool_writes_what_the_config_loads(tmp_path, monkeypatch, capsys):
    state = golden.released_weights('panet_vgg16_pascal_5shot')
    torch.save({f'module.{key}': value for key, value in state.items()}, tmp_path / '30000.pth')
    script = Path(__file__).parents[2] / 'tools/model_converters/panet2mmfss.py'
    target = tmp_path / 'panet.pth'
    options = [str(tmp_path / '30000.pth'), str(target), '--dataset', 'pascal', '--fold', '2']
    monkeypatch.setattr('sys.argv', [str(script), *options])
    load_script(script).main()
    command = capsys.readouterr().out.split('test it: ')[1]
    assert command.split()[2:] == ['configs/panet/vgg16_pascal_1shot.py', str(target), '--fold', '2']
    written = torch.load(target, weights_only=True)
    assert written['meta']['dataset_meta']['fold'] == 2 and len(written['state_dict']) == 26
    for given, ours in zip(state.values(), written['state_dict'].values(), strict=True):
        assert torch.equal(given, ours)


@pytest.mark.parametrize('case', golden.cases('panet'))
def test_golden_case(case):
    golden.assert_parity(case)
