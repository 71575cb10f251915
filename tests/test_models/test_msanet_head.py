# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Options of MSANetHead: what is left out is not there and is not computed."""

from itertools import combinations

import pytest
import torch
import toys

from mmfss.models.decode_heads import bam_head, msanet_head
from mmfss.models.decode_heads.msanet_head import PARTS
from mmfss.structures import SupportBank

# Part -> its modules, and the functions and modules that only it calls.
MODULES = dict(prototype=[], similarity=['squeeze'], prior=[], attention=['attention'])
FUNCTIONS = dict(
    prototype=['masked_average'],
    similarity=['encode_block', 'similarity_map', 'mask_pyramid'],
    prior=['encode_prior', 'prior_mask'],
    attention=[],
)
SUBSETS = [subset for n in range(5) for subset in combinations(PARTS, n)]
NAMES = ['+'.join(subset) or 'none' for subset in SUBSETS]


CHANNELS = dict(layer2=8, layer3=16, layer4=32)


def build(**options):
    return toys.build(dict(toys.MSANET, in_channels=CHANNELS, num_blocks=dict.fromkeys(CHANNELS, 2), **options))


def run(head, K=2):
    query, support = head.encode_query(toys.features(2)), toys.features(2 * K, seed=5)
    labels = toys.blobs(2 * K, 1, 21, 25, seed=1)
    bank = SupportBank({k: t.unflatten(0, (2, K)) for k, t in head.encode_support(support, labels).items()})
    return query, bank, head(query, bank)


@pytest.mark.parametrize('parts', SUBSETS, ids=NAMES)
def test_a_part_left_out_costs_nothing(parts, monkeypatch):
    called = []
    for part, names in FUNCTIONS.items():
        for name in names:
            home = msanet_head if hasattr(msanet_head, name) else bam_head
            function = getattr(home, name)
            monkeypatch.setattr(
                home, name, lambda *args, part=part, function=function: called.append(part) or function(*args)
            )
    head = build(parts=parts)
    query, bank, output = run(head)
    assert output.logits.shape == (2, 2, 6, 7) and output.logits.isfinite().all()
    assert output.adjustment.shape == (2, 1, 1, 1)
    assert set(called) == set(parts) - {'attention'}
    children = dict(head.named_children())
    assert {part for part in PARTS if all(m in children for m in MODULES[part]) and MODULES[part]} == set(parts) & {
        'similarity',
        'attention',
    }
    assert ('reduce_support' in children) == bool({'prototype', 'attention'} & set(parts))
    prefixes = dict(prototype='prototype', similarity='block', prior='prior', attention='attention')
    assert {part for part in PARTS if any(k.startswith(prefixes[part]) for k in bank.tensors)} == set(parts)
    widths = dict(prototype=16, similarity=8, prior=1, attention=16)
    assert head.merge[0].in_channels == 16 + sum(widths[part] for part in parts)
    assert list(head.guidance(query, bank)) == ['query', *(p for p in PARTS if p in parts), 'adjustment']


def test_every_parameter_left_is_trained():
    for parts in SUBSETS:
        head = build(parts=parts, shot_weighting=dict(shots=2))
        *_, output = run(head)
        (output.logits.square().sum() + output.adjustment.sum()).backward()
        without = [name for name, p in head.named_parameters() if p.grad is None]
        assert not without, (parts, without)


def test_block_groups():
    maps = {groups: build(block_groups=groups) for groups in [(2,), (3,), (4,), (4, 2), (2, 3, 4)]}
    assert [head.squeeze[0].in_channels for head in maps.values()] == [2, 2, 2, 4, 6]
    found = {}
    for groups, head in maps.items():
        query, bank, _ = run(head)
        found[groups] = head.similarity_maps(query, bank)
        assert len(found[groups]) == head.squeeze[0].in_channels
    alone = found[(2,)] + found[(3,)] + found[(4,)]
    assert all(torch.equal(a, b) for a, b in zip(found[(2, 3, 4)], alone, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(found[(4, 2)], alone[:2] + alone[4:], strict=True))


def test_shots_are_averaged_as_the_spec_says():
    """Learnt weights for prototype and prior, plain means for similarity and attention."""
    head = build(shot_weighting=dict(shots=3))
    query, bank, _ = run(head, K=3)
    found = head.guidance(query, bank)
    difference = bam_head.scene_difference(query.extras['gram'], bank['gram'])
    weights = head.shot_weighting(difference)
    alone = [head.guidance(query, SupportBank({n: t[:, k : k + 1] for n, t in bank.tensors.items()})) for k in range(3)]
    for name in ('prototype', 'prior'):
        expected = sum(weights[:, k, None, None, None] * alone[k][name] for k in range(3))
        assert torch.allclose(found[name], expected, atol=1e-5), name
    assert torch.allclose(found['attention'], sum(one['attention'] for one in alone) / 3, atol=1e-5)
    maps = [
        torch.cat(
            head.similarity_maps(query, SupportBank({n: t[:, k : k + 1] for n, t in bank.tensors.items()})),
            dim=1,
        )
        for k in range(3)
    ]
    assert torch.allclose(found['similarity'], head.squeeze(sum(maps) / 3), atol=1e-5)
    assert torch.allclose(found['adjustment'].flatten(), (weights * difference).sum(1), atol=1e-6)


def test_released_vgg_takes_the_last_shot_of_block_4():
    head, slip = build(), build(last_shot_groups=(2,))
    query, bank, _ = run(head, K=3)
    last = SupportBank({name: tensor[:, 2:] for name, tensor in bank.tensors.items()})
    found = slip.similarity_maps(query, bank)
    expected = head.similarity_maps(query, last)[:2] + head.similarity_maps(query, bank)[2:]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_training_keeps_the_statistics_of_the_squeezing():
    head = build().train()
    assert head.training and not head.squeeze[1].training and head.squeeze[1].weight.requires_grad
    before = head.squeeze[1].running_mean.clone()
    run(head)
    assert torch.equal(head.squeeze[1].running_mean, before)


@pytest.mark.parametrize(
    'backbone, path, first',
    [
        (toys.RESNET, [(238, 238), (119, 119)], 60),
        (dict(toys.VGG, widths=(2, 2, 4, 4, 4)), [(120, 120)], 60),
    ],
    ids=['resnet', 'vgg'],
)
@torch.no_grad()
def test_the_masks_way_down_is_that_of_the_spec(backbone, path, first):
    """473 -> 238 -> 119 -> 60 on ResNet, 473 -> 120 -> 60 on VGG16."""
    model = toys.build(dict(type='FewShotSegmentor', backbone=backbone, decode_head=toys.MSANET))
    features = model.extract_feat(torch.zeros(1, 3, 473, 473))
    size = features.blocks['layer2'][0].shape[-2:]
    assert model.decode_head._mask_path(features.sizes, size) == path
    assert size[-1] == first


def test_no_weights_without_something_to_weight():
    assert build(parts=('similarity', 'attention'), shot_weighting=dict(shots=5)).shot_weighting is None


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(parts=('prototype', 'magic')), "parts=.*'magic'.*choose from"),
        (dict(block_groups=()), 'block_groups='),
        (dict(block_groups=(1, 2)), 'layers 2, 3, 4'),
        (dict(block_groups=(3, 4), last_shot_groups=(2,)), r'last_shot_groups=\(2,\)'),
        (dict(squeezing='mine'), "squeezing='mine'.*released"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)
