# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""ASGNet through the model tester, and against the released code."""

import json

import golden
import numpy as np
import pytest
import torch
import toys
from helpers import load_script
from mmengine.config import Config
from model_tester import ModelTester

from mmfss.conversion import ConversionError, recognise
from mmfss.conversion.asgnet import asgnet_options, convert_asgnet
from mmfss.conversion.files import load_into_config
from mmfss.deployment import compare, exportable, record, structured_input
from mmfss.deployment.check import reference
from mmfss.deployment.programs import ENCODER, SEGMENTER
from mmfss.models.layers import guided_clustering
from mmfss.models.layers.guided_clustering import superpixel_prototypes
from mmfss.models.layers.masks import resize_nearest
from mmfss.models.layers.prototype_allocation import allocate
from mmfss.models.layers.superpixel_seeds import place_seeds, recount
from mmfss.registry import MODELS

REPO = golden.FOLDER.parents[2]
ASGNET = dict(type='ASGNetHead', channels=16, bins=(1.0, 0.5, 4), superpixel_area=3)  # on maps of 6x6


class TestASGNet(ModelTester):
    head = ASGNET
    half_tolerance = 5e-2  # rounded features give a pixel another guide; with the same guides it is below 1e-2


class TestASGNetWithOtherOptions(TestASGNet):
    """Bins of the released configs, which enlarge a small map; what the released code does not do."""

    head = dict(ASGNET, bins=(60, 30, 15, 8), seed_count='placed', probability='mean')


class TestASGNetWithASPP(TestASGNet):
    head = dict(type='ASGNetASPPHead', channels=16, dilations=(1, 2, 3), superpixel_area=3)


def segmentor(head=ASGNET, **fields):
    return toys.build(dict(type='FewShotSegmentor', backbone=toys.RESNET, decode_head=head, **fields))


# --- seeds ---


def test_seeds_are_those_of_the_released_code():
    """Full, rectangular, thin, empty, parted and ragged masks."""
    stored = np.load(golden.FOLDER / 'asgnet_seeds.npz')
    H, W = stored['size']
    masks = torch.as_tensor(np.unpackbits(stored['mask'], axis=-1)[..., :W]).view(-1, 1, H, W).float()
    seeds, placed = place_seeds(resize_nearest(masks, (60, 60)).squeeze(1) > 0)
    assert torch.equal(seeds, torch.as_tensor(stored['seeds']).long())
    assert torch.equal(recount(seeds), torch.as_tensor(stored['count']).long())
    assert (recount(seeds) <= placed).all() and not torch.equal(recount(seeds), placed)


def slow_seeds(mask: torch.Tensor, most: int, area: float) -> torch.Tensor:
    """The definition, pixel by pixel."""
    inside = mask.nonzero().tolist()
    seeds = torch.zeros(most, 2, dtype=torch.long)
    number = min(round(len(inside) / area), most)
    if number < 2:
        return seeds
    top, left = min(r for r, _ in inside), min(c for _, c in inside)
    bottom, right = max(r for r, _ in inside), max(c for _, c in inside)
    box = [[r, c] for r in range(top, bottom + 1) for c in range(left, right + 1)]
    outside = [place for place in box if place not in inside] or [[top - 1, left]]
    for i in range(number):
        distance = [min((r - y) ** 2 + (c - x) ** 2 for y, x in outside) for r, c in inside]
        seeds[i] = torch.tensor(inside[distance.index(max(distance))])
        outside = [place for place in outside if place[0] >= top] + [seeds[i].tolist()]
    return seeds


@pytest.mark.parametrize('size', [(9, 13), (12, 8)])
def test_seeds_follow_their_definition(size):
    heights = toys.smooth(12, *size, seed=3, cell=4)
    masks = heights > torch.linspace(-1, 1, 12).view(-1, 1, 1)
    masks[0], masks[1] = False, True
    masks[2] = False
    masks[2, 2:6, 1:7] = True  # no background in its box
    seeds, placed = place_seeds(masks, 4, 7)
    assert placed.unique().numel() > 2
    for mask, found in zip(masks, seeds, strict=True):
        assert torch.equal(found, slow_seeds(mask, 4, 7))


def test_half_a_superpixel_rounds_to_even():
    masks = torch.zeros(4, 20, 20, dtype=torch.bool)
    for mask, pixels in zip(masks, (149, 150, 250, 251), strict=True):
        mask.view(-1)[:pixels] = True
    assert place_seeds(masks)[1].tolist() == [0, 2, 2, 3]


# --- clustering and allocation ---


@pytest.mark.parametrize('rounds', [1, 4])
def test_clusters_follow_their_definition(rounds):
    features, mask = 2 * torch.randn(2, 5, 6, 7), torch.zeros(2, 1, 6, 7)
    mask[0, 0, 1:5, 2:6], mask[1, 0, 3:, :3] = 1, 1
    seeds = torch.tensor([[[1, 2], [4, 5], [0, 0]], [[0, 6], [5, 1], [3, 2]]])  # one lies outside of its region
    found, valid = superpixel_prototypes(features, mask, seeds, torch.tensor([2, 3]), rounds)
    assert valid.tolist() == [[True, True, False], [True, True, True]] and not found[0, :, 2].any()
    for n in range(2):
        pixels = [(r, c) for r in range(6) for c in range(7) if mask[n, 0, r, c]]
        for s in range(int(valid[n].sum())):
            place = seeds[n, s].double()
            centre = features[n, :, seeds[n, s, 0], seeds[n, s, 1]].double()
            for _ in range(rounds):
                spatial = [((torch.tensor(p) - place) ** 2).sum() / 100 for p in pixels]
                vectors = torch.stack([features[n, :, r, c].double() for r, c in pixels])
                distance = (((vectors - centre) ** 2).sum(1) + torch.stack(spatial)).sqrt()
                weights = (-distance).exp() / (-distance).exp().sum()
                centre, place = weights @ vectors, weights @ torch.tensor(pixels).double()
            torch.testing.assert_close(found[n, :, s], centre.float(), atol=1e-5, rtol=1e-5)


def test_one_prototype_is_the_masked_average():
    features, mask = torch.randn(2, 5, 6, 7), torch.zeros(2, 1, 6, 7)
    mask[1, 0, 2:4, 3] = 1
    seeds, none = torch.zeros(2, 5, 2, dtype=torch.long), torch.zeros(2, dtype=torch.long)
    found, valid = superpixel_prototypes(features, mask, seeds, none, 5)
    assert valid.tolist() == [[True, False, False, False, False]] * 2
    assert not found[0].any() and not found[1, :, 1:].any()
    torch.testing.assert_close(found[1, :, 0], features[1, :, 2:4, 3].sum(1) / (2 + 5e-4))


def test_far_pixels_and_empty_regions_do_no_harm():
    """exp(-distance) is 0 in float32 for every pixel here."""
    features, mask = 1e3 * torch.randn(1, 5, 6, 7), torch.ones(1, 1, 6, 7)
    seeds, count = torch.tensor([[[2, 2], [4, 4]]]), torch.tensor([2])
    features[0, :, 2, 2] = 1e5
    mask[0, 0, 2, 2] = 0
    assert superpixel_prototypes(features, mask, seeds, count, 3)[0].isfinite().all()
    assert not superpixel_prototypes(features, 0 * mask, seeds, count, 3)[0].any()


def test_recorded_graphs_compute_the_same_distances(monkeypatch):
    centres, vectors = torch.randn(2, 3, 5), torch.randn(2, 7, 5)
    usual = guided_clustering.distances(centres, vectors)
    monkeypatch.setattr(guided_clustering, 'exporting', lambda: True)
    torch.testing.assert_close(guided_clustering.distances(centres, vectors), usual)


def test_each_pixel_is_guided_by_the_prototype_most_like_it():
    query = torch.randn(2, 4, 3, 5)
    prototypes = torch.randn(2, 4, 6)
    valid = torch.tensor([[True, False, True, True, False, False], [True, True, True, True, True, True]])
    cosine, index, guide = allocate(query, prototypes, valid)
    for b in range(2):
        kept = prototypes[b, :, valid[b]]
        expected = torch.nn.functional.cosine_similarity(query[b, :, None], kept[:, :, None, None], dim=0)  # (P, h, w)
        torch.testing.assert_close(cosine[b].sum(0), expected.sum(0))
        assert torch.equal(guide[b], kept[:, expected.argmax(0)])
        assert torch.equal(prototypes[b][:, index[b]], guide[b])


# --- the head ---


def test_a_bank_holds_a_few_vectors():
    inputs = toys.episodes(2, 3)
    bank = segmentor().encode_support(inputs['support'], inputs['support_mask']).part('meta')
    assert {name: tuple(t.shape) for name, t in bank.tensors.items()} == dict(vectors=(2, 3, 16, 5), valid=(2, 3, 5))
    assert not bank['vectors'].requires_grad and bank['valid'].any(2).all()
    assert bank['valid'].sum(2).unique().numel() > 1


def test_seeds_in_the_first_row_and_column_are_lost_or_kept():
    mask = torch.ones(1, 1, 41, 41)
    counts = {name: segmentor(dict(ASGNET, seed_count=name)).decode_head.seeds(mask, (6, 6))[1].item()
              for name in ('released', 'placed')}  # fmt: skip
    assert counts == dict(released=3, placed=5)


def test_more_rounds_in_training():
    inputs = toys.episodes(2)
    model = segmentor(dict(ASGNET, iterations=1, training_iterations=4))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout2d):
            module.p = 0.0

    def vectors():
        return model.encode_support(inputs['support'], inputs['support_mask']).part('meta')['vectors']

    tested, trained = vectors(), (model.train(), vectors())[1]
    assert not torch.allclose(tested, trained)
    model.eval().decode_head.iterations = 4
    assert torch.allclose(vectors(), trained, atol=1e-5)


def test_the_mean_of_similarities_does_not_grow_with_the_shots():
    inputs = toys.episodes(1, 1)
    size = {}
    for name in ('sum', 'mean'):
        model = segmentor(dict(ASGNET, probability=name))
        features = model.encode_query(model.extract_feat(inputs['query'])).heads['meta']
        bank = model.encode_support(inputs['support'], inputs['support_mask']).part('meta')
        one, two = (model.decode_head.guidance(features, b)['probability'] for b in (bank, bank.extend(bank)))
        size[name] = two / one
    torch.testing.assert_close(size['sum'], torch.full_like(size['sum'], 2.0))
    torch.testing.assert_close(size['mean'], torch.full_like(size['mean'], 1.0))


def test_statistics_move_in_training_as_released_or_stay():
    inputs, samples = toys.episodes(2, 3), toys.samples(2, (41, 41))
    for norm_eval in (False, True):
        model = segmentor(norm_eval=norm_eval)
        before = {name: buffer.clone() for name, buffer in model.backbone.named_buffers()}
        model.train().loss(inputs, samples)
        moved = [name for name, buffer in model.backbone.named_buffers() if not torch.equal(buffer, before[name])]
        assert bool(moved) != norm_eval
        assert not any(p.requires_grad for p in model.backbone.parameters())
        if not norm_eval:  # the queries, then each of three shots as a batch of its own; layer4 never runs
            assert int(model.backbone.layer3[0].bn1.num_batches_tracked) == 4
            assert not any(name.startswith('layer4') for name in moved)


@pytest.mark.parametrize(
    'option',
    [
        dict(superpixels=0),
        dict(superpixel_area=0),
        dict(iterations=-1),
        dict(seed_count='all'),
        dict(probability='max'),
        dict(bins=()),
    ],
)
def test_impossible_options_are_refused(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        MODELS.build(dict(type='FewShotSegmentor', backbone=toys.RESNET, decode_head=dict(ASGNET, **option)))


@pytest.mark.slow
@pytest.mark.parametrize('head', [ASGNET, TestASGNetWithASPP.head], ids=['pyramid', 'aspp'])
def test_one_recording_serves_all_sizes_and_numbers_of_supports(head):
    model = segmentor(head)
    programs, names = record(exportable(model), size=64)
    assert names == ['vectors', 'valid']

    @torch.no_grad()
    def run(images, masks, query):
        return programs[SEGMENTER].module()(query, *programs[ENCODER].module()(images, masks))

    one, more = structured_input(1, (48, 48), (48, 48)), structured_input(3, (57, 80), (96, 41), seed=1)
    empty = (one[0], 0 * one[1], one[2])
    scale = reference(model)(*one).abs().max().item()
    assert max(difference for difference, _ in compare(run, reference(model), [one, more, empty])) < 1e-5 * scale


# --- released weights ---


def aspp_shapes() -> dict[str, list[int]]:
    """Keys and shapes of a released model with an ASPP, from those of one with a pyramid."""
    pyramid = golden.case('asgnet_r50_pascal_5shot').released_shapes
    shapes = {k: v for k, v in pyramid.items() if k.startswith(('layer', 'down_conv', 'cls.'))}
    square = [256, 256, 3, 3]
    shapes |= {'corr_conv.0.weight': [256, 513, 3, 3]}
    shapes |= {f'skip{i}.{j}.weight': square for i in (1, 2, 3) for j in (1, 3)}
    for i, side in enumerate((1, 1, 3, 3, 3)):
        shapes |= {f'ASPP.layer6_{i}.0.weight': [256, 256, side, side], f'ASPP.layer6_{i}.0.bias': [256]}
    shapes |= {'ASPP.layer7.0.weight': [256, 1280, 1, 1], 'ASPP.layer7.0.bias': [256]}
    shapes |= {'decoder.conv1.weight': [64, 256, 1, 1], 'decoder.last_conv.0.weight': [256, 320, 3, 3]}
    for norm, channels in (('decoder.bn1', 64), ('decoder.last_conv.1', 256)):
        shapes |= {f'{norm}.{name}': [channels] for name in ('weight', 'bias', 'running_mean', 'running_var')}
        shapes[f'{norm}.num_batches_tracked'] = []
    return shapes | {f'cls_aux.{k[4:]}': v for k, v in shapes.items() if k.startswith('cls.')}


def numbered(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """Weights of which each is one number that no other has."""
    return {
        k: torch.tensor(i + 1).expand(v) if k.endswith('num_batches_tracked') else torch.tensor(i + 1.0).expand(v)
        for i, (k, v) in enumerate(shapes.items())
    }


def test_the_tool_on_rebuilt_released_weights(tmp_path, monkeypatch, capsys):
    weights = golden.released_weights('asgnet_r50_pascal_5shot')
    content = dict(epoch=3, optimizer={}, state_dict={f'module.{k}': v for k, v in weights.items()})
    torch.save(content, tmp_path / 'released.pth')
    files = [str(tmp_path / name) for name in ('released.pth', 'ours.pth')]
    tool = load_script(REPO / 'tools/model_converters/asgnet2mmfss.py')
    monkeypatch.setattr('sys.argv', ['asgnet2mmfss.py', *files, '--fold', '2'])
    with pytest.raises(SystemExit, match='--dataset'):
        tool.main()
    monkeypatch.setattr('sys.argv', [*('asgnet2mmfss.py', *files, '--fold', '2'), '--dataset', 'pascal'])
    tool.main()
    printed = capsys.readouterr().out
    assert 'configs/asgnet/r50_pascal_1shot.py' in printed and 'asgnet/r50_pascal_5shot.py' in printed
    ours = torch.load(files[1], weights_only=True)['state_dict']
    model = MODELS.build(Config.fromfile(REPO / 'configs/asgnet/r50_pascal_5shot.py').model)
    model.load_state_dict(ours, strict=True)
    sums = [sorted(float(v.double().sum()) for v in state.values()) for state in (ours, weights)]
    assert sums[0] == pytest.approx(sums[1]), 'each weight once, with its values'
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 10_423_818


@pytest.mark.parametrize('dataset', ['pascal', 'coco'])
def test_the_variant_with_an_aspp_loads_strictly(dataset):
    state = numbered(aspp_shapes())
    assert recognise(state).name == 'asgnet'
    variant, converted = convert_asgnet(state, dataset)
    assert asgnet_options(variant) == {'model.decode_head.type': 'ASGNetASPPHead'} and 'ASPP' in str(variant)
    loaded = load_into_config(variant, converted)
    assert sorted(float(v.flatten()[0]) for v in loaded.values()) == [i + 1.0 for i in range(len(state))]
    learned = [
        v for k, v in loaded.items() if k.startswith('decode_head') and not k.endswith(('mean', 'var', 'tracked'))
    ]
    assert sum(v.numel() for v in learned) == 9_278_852


def test_released_weights_do_not_say_their_data_set():
    shapes = json.loads((golden.FOLDER / 'asgnet_r50_pascal_5shot.shapes.json').read_text())
    state = {f'module.{key}': value for key, value in numbered(shapes).items()}
    assert recognise(state).name == 'asgnet'
    variant, _ = convert_asgnet(state, 'coco')
    assert (variant.backbone, variant.dataset, variant.aspp) == ('r50', 'coco', False) and 'pyramid' in str(variant)
    with pytest.raises(ConversionError, match='--dataset'):
        convert_asgnet(state)
    with pytest.raises(ConversionError, match='unknown keys gate.weight'):
        convert_asgnet({**state, 'gate.weight': torch.zeros(1)}, 'coco')


@pytest.mark.parametrize('case', golden.cases('asgnet'))
def test_golden_case(case):
    golden.assert_parity(case)
