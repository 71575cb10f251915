# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Several classes a query: a bank for each, one map; one class alone is what it was."""

import pytest
import torch
import toys

from mmfss.models.layers.ways import join_ways, way_labels

VGG = dict(type='PlainVGG', widths=(8, 8, 16, 16, 16), dilations=(1, 1, 1, 1, 2), last_relu=False, last_pool=False)
PANET = dict(type='NWaySegmentor', backbone=VGG, decode_head=dict(type='PANetHead'), freeze_backbone=False)
ONE_BY_ONE = dict(
    type='NWaySegmentor', backbone=toys.RESNET, decode_head=dict(type='PFENetHead', channels=8, bins=(4,))
)


def episodes(B: int, W: int, K: int) -> dict[str, torch.Tensor]:
    """Inputs of B episodes; the masks of way w hold 1 + w, and here and there another way's number."""
    inputs = toys.episodes(B, W * K)
    masks = inputs['support_mask'].unflatten(1, (W, K))
    for w in range(W):
        own = masks[:, w]
        own[own == 1] = 1 + w
        own[..., :8, :8] = 1 + (w + 1) % W
    return dict(inputs, support=inputs['support'].unflatten(1, (W, K)), support_mask=masks)


def samples(B: int, W: int) -> list:
    found = toys.samples(B, (41, 41))
    for sample in found:
        data = sample.gt_sem_seg.data
        data[..., 20:][data[..., 20:] == 1] = W
    return found


def test_labels_of_a_way_tell_void_background_and_other_classes_apart():
    masks = torch.tensor([0, 1, 2, 3, 255]).view(1, 1, 1, 1, 5).expand(2, 3, 2, 1, 5)
    assert way_labels(masks)[0, 1, 0, 0].tolist() == [0, 254, 1, 254, 255]
    one = torch.tensor([0, 1, 255]).view(1, 1, 1, 1, 3)
    assert torch.equal(way_labels(one), one), 'one class: the labels of an ordinary episode'


def test_joined_scores_decide_as_one_class_does():
    scores = [torch.randn(2, 2, 5, 4) for _ in range(3)]
    assert torch.equal(join_ways(scores[:1]).argmax(1), scores[0].argmax(1))
    found = join_ways(scores).argmax(1)
    margins = torch.stack([s[:, 1] - s[:, 0] for s in scores], 1)
    assert torch.equal(found == 0, (margins <= 0).all(1))
    assert torch.equal(margins.argmax(1)[found > 0] + 1, found[found > 0])


@pytest.mark.parametrize('config', [PANET, ONE_BY_ONE], ids=['PANet', 'one by one'])
@pytest.mark.parametrize('K', [1, 2])
@torch.no_grad()
def test_one_way_is_the_binary_model(config, K):
    model, binary = toys.build(config), toys.build(dict(config, type='FewShotSegmentor'))
    inputs = toys.episodes(2, K)
    found = model({**inputs, 'support': inputs['support'][:, None], 'support_mask': inputs['support_mask'][:, None]})
    expected = binary(inputs)['final']
    assert torch.equal(found['final'].argmax(1), expected.argmax(1))
    assert torch.allclose(found['final'].softmax(1), expected.softmax(1), atol=1e-5)


@pytest.mark.parametrize('config', [PANET, ONE_BY_ONE], ids=['PANet', 'one by one'])
@torch.no_grad()
def test_episodes_banks_and_batches_agree(config):
    model, inputs = toys.build(config), episodes(3, 3, 2)
    joint = model(inputs)['final']
    assert joint.shape == (3, 4, 41, 41) and len(model.feature_cache) > 0
    again = model(inputs)['final']
    assert torch.equal(joint, again), 'what was kept gives the same'
    banks = model.encode_ways(inputs['support'], inputs['support_mask'])
    assert [(bank.batch_size, bank.num_shots) for bank in banks] == [(3, 2)] * 3
    scores = model.segment_ways(model.extract_feat(inputs['query'], inputs['query_padding']), banks)['final']
    scores = torch.nn.functional.interpolate(scores, (41, 41), mode='bilinear', align_corners=True)
    assert torch.allclose(scores, joint, atol=1e-4)
    turned = [1, 2, 0]  # classes in another order
    masks = inputs['support_mask']
    numbers = torch.tensor([0, 3, 1, 2])
    renamed = torch.where(masks < 4, numbers[masks.clamp(max=3)], masks)
    other = model({**inputs, 'support': inputs['support'][:, turned], 'support_mask': renamed[:, turned]})['final']
    assert torch.allclose(other[:, [0, 3, 1, 2]], joint, atol=1e-4)
    (prediction, *_) = model(inputs, samples(3, 3), mode='predict')
    assert prediction.seg_logits.data.shape == (4, 41, 41) and prediction.pred_sem_seg.data.max() <= 3


@torch.no_grad()
def test_other_classes_are_no_background_of_a_class():
    model, inputs = toys.build(PANET), episodes(1, 2, 1)
    banks = model.encode_ways(inputs['support'], inputs['support_mask'])
    without = inputs['support_mask'].clone()
    without[:, 0][without[:, 0] == 2] = 0
    plain = model.encode_ways(inputs['support'], without)
    assert torch.allclose(banks[0]['meta.foreground'], plain[0]['meta.foreground'])
    assert not torch.allclose(banks[0]['meta.background'], plain[0]['meta.background'])
    query = model.extract_feat(inputs['query'])
    one, two = (model.segment_ways(query, chosen)['final'] for chosen in (banks[:1], banks))
    assert torch.allclose(one[:, 1], two[:, 1], atol=1e-5), 'a class scores the same whoever competes'


def test_training_with_several_classes():
    model, inputs = toys.build(PANET).train(), episodes(2, 2, 2)
    losses = model.loss(inputs, samples(2, 2))
    assert losses.keys() == {'loss_final', 'loss_align'}
    sum(losses.values()).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.backbone.parameters())
    one = toys.episodes(2, 2)
    binary = toys.build(dict(PANET, type='FewShotSegmentor')).train().loss(one, toys.samples(2, (41, 41)))
    single = {**one, 'support': one['support'][:, None], 'support_mask': one['support_mask'][:, None]}
    found = model.loss(single, toys.samples(2, (41, 41)))
    assert all(torch.allclose(found[name], loss) for name, loss in binary.items())


def test_what_cannot_be_trained_or_compared_is_refused():
    with pytest.raises(TypeError, match='PFENetHead learns one class at a time'):
        toys.build(ONE_BY_ONE).train().loss(episodes(1, 2, 1), samples(1, 2))
    with pytest.raises(ValueError, match='no comparison_heads'):
        toys.build(dict(PANET, comparison_heads=dict(floor=dict(type='PrototypeHead'))))
