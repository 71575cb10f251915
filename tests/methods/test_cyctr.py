# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""CyCTR through the model tester, its draw of support tokens, and against the released code."""

import json

import golden
import pytest
import torch
import toys
from helpers import load_script
from mmengine.config import Config
from model_tester import ModelTester

from mmfss.conversion import ConversionError, recognise
from mmfss.conversion.cyctr import convert_cyctr
from mmfss.conversion.files import load_into_config
from mmfss.conversion.parity import deviation
from mmfss.deployment import compare, exportable, record, structured_input
from mmfss.deployment.check import reference
from mmfss.deployment.programs import ENCODER, SEGMENTER
from mmfss.utils.configs import resolve_config

CYCTR = dict(type='CyCTRHead', channels=16, points=4)
FEW = dict(CYCTR, tokens=4)  # of 36 in a map of 6x6: most are left out


def config(head: dict = CYCTR, **kwargs) -> dict:
    return dict(type='FewShotSegmentor', backbone=toys.RESNET, decode_head=head, **kwargs)


class TestCyCTR(ModelTester):
    head = CYCTR
    ignores_void = False  # padded positions of a support are hidden from the query
    half_tolerance = 6e-2  # features of a rounded backbone make other tokens consistent


class TestCyCTROnVGG(ModelTester):
    head = dict(CYCTR, channels=24, pairing='aligned')  # twelve heads
    backbone = toys.VGG
    ignores_void = False
    half_tolerance = 6e-2


# --- the draw ---


@torch.no_grad()
def test_the_draw_follows_the_seed_and_nothing_else():
    inputs = toys.episodes(3, 2)
    inputs = {name: t[:1].repeat(3, *[1] * (t.dim() - 1)) for name, t in inputs.items()}
    inputs['episode_seed'] = torch.tensor([7, 8, 7])  # the same images
    model = toys.build(config(FEW))
    first, other, again = model(inputs)['final']
    assert torch.equal(first, again) and (first - other).abs().max() > 1e-3
    torch.manual_seed(5)
    for cached in (model, toys.build(config(FEW, feature_cache_gb=0))):
        assert torch.equal(cached(toys.pick(inputs, 1))['final'][0], other)
    features = model.extract_feat(inputs['query'], inputs['query_padding'], inputs['episode_seed'])
    bank = model.encode_support(inputs['support'][:1], inputs['support_mask'][:1])  # one bank for three episodes
    joint = model.segment(features, bank)['final']
    assert torch.equal(joint[0], joint[2]) and (joint[0] - joint[1]).abs().max() > 1e-3


@torch.no_grad()
def test_images_are_encoded_once_whatever_is_drawn():
    inputs = toys.episodes(2)
    inputs = {name: t[:1].repeat(2, *[1] * (t.dim() - 1)) for name, t in inputs.items()}
    inputs['episode_seed'] = torch.tensor([7, 8])
    model = toys.build(config(FEW))
    model(inputs)
    assert model.feature_cache.hits == dict(support=1, query=1, comparison=1)


@torch.no_grad()
def test_the_pairing_of_vectors_and_flags_is_an_option():
    inputs = toys.episodes(2, 3)
    released, aligned = (
        toys.build(config(dict(FEW, pairing=name)))(inputs)['final'] for name in ('released', 'aligned')
    )
    assert (released - aligned).abs().max() > 1e-3
    with pytest.raises(ValueError, match="pairing='other'"):
        toys.build(config(dict(CYCTR, pairing='other')))


def test_training_draws_for_each_layer_anew():
    model = toys.build(config(FEW)).train()
    model.decode_head.draw, draws = (drawn := Recording(model.decode_head.draw)), drawn.draws
    model.loss(toys.episodes(2), toys.samples(2, (41, 41)))
    (first, second), numbers = draws[0], set()
    assert first.vector.shape[0] == 2 and not torch.equal(first.vector[:, :4], second.vector[:, :4])
    for _ in range(20):
        numbers |= {index.vector.shape[1] for index in model.decode_head.draw.training(torch.rand(1, 36) > 0.7, 1, 2)}
    assert len(numbers) > 3 and min(numbers) >= 2 * 2 and max(numbers) <= 2 * 16


class Recording:
    """A draw that keeps what it drew."""

    def __init__(self, draw):
        self.draw, self.draws = draw, []

    def training(self, *args):
        self.draws.append(self.draw.training(*args))
        return self.draws[-1]


# --- the query's padding, losses ---


@torch.no_grad()
def test_padding_of_the_query_is_an_input():
    model, inputs = toys.build(config()), toys.episodes(1)
    inputs['query_padding'][:, 20:] = True
    padded = model(inputs)['final']
    assert (padded - model(dict(inputs, query_padding=inputs['query_padding'] & False))['final']).abs().max() > 1e-3


def test_losses_of_the_query_and_of_the_supports():
    inputs, samples = toys.episodes(2, 2), toys.samples(2, (41, 41))
    losses = toys.build(config(dict(CYCTR, auxiliary_weight=0))).train().loss(inputs, samples)
    assert losses.keys() == {'loss_final', 'loss_auxiliary'} and losses['loss_auxiliary'] == 0
    bank = toys.build(config()).encode_support(inputs['support'], inputs['support_mask'])
    assert not {'meta.reduced', 'meta.labels'} & bank.tensors.keys(), 'for the loss alone'


def test_channels_must_be_divisible_by_the_heads():
    with pytest.raises(ValueError, match='channels=20 .* 8 heads'):
        toys.build(config(dict(CYCTR, channels=20)))


@pytest.mark.slow
def test_a_recording_draws_the_same_tokens_for_any_size_and_number_of_supports():
    model = toys.build(config(FEW))
    programs, _ = record(exportable(model), size=64)
    encode, segment = (programs[name].module() for name in (ENCODER, SEGMENTER))
    inputs = [structured_input(1, (48, 48), (48, 48)), structured_input(3, (57, 80), (96, 41), seed=1)]
    with torch.no_grad():
        found = compare(lambda images, masks, query: segment(query, *encode(images, masks)), reference(model), inputs)
    assert max(difference for difference, _ in found) < 1e-5


# --- released weights ---


@torch.no_grad()
def test_a_released_file_through_the_tool_and_back(tmp_path, monkeypatch, capsys):
    case = golden.case('cyctr_r50_pascal_1shot')
    state = {f'module.{key}': value for key, value in case.released_weights().items()}
    torch.save(dict(epoch=200, state_dict=state, optimizer=dict(param_groups=[])), tmp_path / 'src.pth')
    tool = golden.FOLDER.parents[2] / 'tools/model_converters/cyctr2mmfss.py'
    arguments = [tmp_path / 'src.pth', tmp_path / 'dst.pth', '--dataset', 'pascal', '--fold', '1']
    monkeypatch.setattr('sys.argv', [str(tool), *map(str, arguments)])
    load_script(tool).main()
    printed = capsys.readouterr().out
    assert 'configs/cyctr/r50_pascal_1shot.py' in printed and '--fold 1' in printed
    written = torch.load(tmp_path / 'dst.pth', weights_only=True)
    model = toys.MODELS.build(Config.fromfile(resolve_config('configs/cyctr/r50_pascal_1shot.py')).model).eval()
    model.load_state_dict(written['state_dict'], strict=True)
    found = model(case.inputs, mode='tensor')['final']  # all tokens are taken, so our own draw is the released one
    assert deviation(found, case.arrays['logits']) < 1e-4
    assert written['meta']['dataset_meta']['fold'] == 1


def test_what_the_weights_do_not_say_and_what_is_dropped():
    weights = golden.released_weights('cyctr_r50_pascal_1shot')
    state = {f'module.{key}': value for key, value in weights.items()}
    assert recognise(state).name == 'cyctr' and 'addtional_proj.0.weight' in weights
    variant, ours = convert_cyctr(state, 'coco')
    assert (variant.backbone, variant.dataset) == ('r50', 'coco')
    loaded = load_into_config(variant, ours)
    kept = {key: value for key, value in weights.items() if not key.startswith('addtional_proj')}
    learned = [{k: v for k, v in s.items() if not k.endswith('num_batches_tracked')} for s in (loaded, kept)]
    sums = [sorted(float(v.double().sum()) for v in part.values()) for part in learned]
    assert sums[0] == pytest.approx(sums[1]), 'each weight once, with its values'
    with pytest.raises(ConversionError, match='--dataset'):
        convert_cyctr(state)


def test_resnet_101_and_weights_of_another_time():
    text = (golden.FOLDER / 'cyctr_r50_pascal_1shot.shapes.json').read_text()
    shapes = json.loads(text)
    for block in range(6, 23):
        second = {k: v for k, v in shapes.items() if k.startswith('backbone.body.layer3.1.')}
        shapes |= {k.replace('layer3.1.', f'layer3.{block}.'): v for k, v in second.items()}
    state = {key: torch.zeros(1).expand(shape) for key, shape in shapes.items()}
    variant, ours = convert_cyctr(state, 'pascal')
    assert variant.config == 'configs/cyctr/r101_pascal_1shot.py' and load_into_config(variant, ours)
    with pytest.raises(ConversionError, match='384 channels'):
        convert_cyctr({**state, 'adjust_feature_qry.0.weight': torch.zeros(384, 1536, 1, 1)}, 'pascal')
    with pytest.raises(ConversionError, match=r'unknown keys transformer\.extra'):
        convert_cyctr({**state, 'transformer.extra': torch.zeros(1)}, 'pascal')


@pytest.mark.parametrize('case', golden.cases('cyctr'))
def test_golden_case(case):
    golden.assert_parity(case)
