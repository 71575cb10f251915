# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""ASGNet through the model tester, and against the released code."""

import json

import golden
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
