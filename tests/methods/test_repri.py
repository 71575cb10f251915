# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""RePRI through the model tester, and against the released code."""

from dataclasses import asdict

import golden
import pytest
import torch
import toys
from model_tester import ModelTester

from mmfss.conversion import recognise
from mmfss.conversion.repri import convert_repri
from mmfss.models.layers.transductive_fit import ORACLE_RECIPE
from mmfss.utils.weights import taken_weights

ORACLE = asdict(ORACLE_RECIPE)
NECK = dict(type='BaseLearnerNeck', base_head=toys.BASE_HEAD)
CONFIG = dict(type='FewShotSegmentor', backbone=toys.RESNET, neck=NECK, decode_head=dict(type='RePRIHead'))


class WithoutEpisodicTraining(ModelTester):
    """RePRI's head has no loss."""

    learned = ignores_void = False
    half_tolerance = 5e-2  # of features whose eight bits the fit goes on from

    def test_loss_mode_trains_what_is_learned(self, model):
        assert not model.learned
        with pytest.raises(NotImplementedError, match='not trained with episodes'):
            model(toys.episodes(2, 1, self.size), toys.samples(2, self.size), mode='loss')

    def test_loss_under_autocast(self):
        """There is no loss."""


class TestRePRI(WithoutEpisodicTraining):
    head = dict(type='RePRIHead')

    def config(self) -> dict:
        return dict(super().config(), neck=NECK)


class TestRePRIOnStages(WithoutEpisodicTraining):
    """No base learner, VGG16: any map will do."""

    head = dict(type='RePRIHead', stages=('layer3', 'layer4'), nearest=True, recipe=dict(iterations=20))
    backbone = toys.VGG


def test_probabilities_do_not_depend_on_the_batch():
    model, inputs = toys.build(CONFIG), toys.episodes(4, 3)
    inputs['support_mask'][1, 1:] = 255  # shots that the second episode does not have
    with torch.inference_mode():
        query = model.encode_query(model.extract_feat(inputs['query'], inputs['query_padding']))
        bank = model.encode_support(inputs['support'], inputs['support_mask']).part('meta')
        features = query.heads['meta']

        def probability(order, shots=3):
            seen = features.map(lambda t: t[order])
            known = bank.map(lambda t: t[order][:, :shots])
            return model.decode_head(seen, known).logits.softmax(1)[:, 1]

        joint = probability([0, 1, 2, 3])
        assert (probability([3, 2, 1, 0]) - joint[[3, 2, 1, 0]]).abs().max() <= 2e-6
        for i in range(4):
            assert (probability([i]) - joint[i]).abs().max() <= 2e-6
        assert (probability([1], shots=1) - joint[1]).abs().max() <= 2e-6  # and counts one shot alone


def truthful(**head) -> dict:
    """A config whose head may read the queries' annotations."""
    return dict(CONFIG, decode_head=dict(type='RePRIHead', **head))


@torch.no_grad()
def test_the_truth_is_read_by_options_alone():
    inputs = toys.episodes(2, 2)
    labels = toys.blobs(2, 1, 41, 41, seed=7)[:, 0]
    told = dict(inputs, query_labels=labels)
    plain = toys.build(CONFIG)
    assert torch.equal(plain(told)['final'], plain(inputs)['final'])
    released = toys.build(truthful(valid='truth'))
    as_padding = dict(inputs, query_padding=labels == 255)
    assert torch.equal(released(told)['final'], plain(as_padding)['final'])
    assert not torch.equal(released(told)['final'], plain(inputs)['final'])
    oracle = toys.build(truthful(oracle=True, recipe=ORACLE))
    share = (oracle(told)['final'].argmax(1) == 1).flatten(1).float().mean(1)
    assert not torch.equal(oracle(told)['final'], plain(inputs)['final']) and share.isfinite().all()
    wrong = toys.build(truthful(oracle=True, oracle_error=100.0, recipe=ORACLE))(told)['final']
    assert (wrong.softmax(1)[:, 1].mean() > oracle(told)['final'].softmax(1)[:, 1].mean()).all()
    for model in (released, oracle):
        with pytest.raises(ValueError, match='query_labels=True'):
            model(inputs)


@torch.no_grad()
def test_the_preprocessor_hands_out_the_truth_when_asked_to():
    images, samples = torch.rand(2, 3, 41, 41) * 255, toys.samples(2, (41, 41))
    build = toys.MODELS.build
    config = dict(type='EpisodeDataPreProcessor', mean=[0.0] * 3, std=[1.0] * 3)
    data = dict(
        inputs=dict(query=list(images), support=[list(images)]), data_samples=dict(query=samples, support=[samples])
    )
    assert 'query_labels' not in build(config)(data)['inputs']
    found = build(dict(config, query_labels=True))(data)['inputs']['query_labels']
    assert torch.equal(found, torch.cat([sample.gt_sem_seg.data for sample in samples]))
    data['data_samples']['query'] = toys.samples(2, (50, 50))
    with pytest.raises(ValueError, match="ground_truth='network'"):
        build(dict(config, query_labels=True))(data)


def test_a_base_learner_or_a_method_trained_with_one_gives_the_weights():
    model = toys.build(CONFIG)
    own = model.state_dict()
    base_learner = {k.replace('neck.base_head.', 'decode_head.'): v for k, v in own.items()}
    ensemble = {k.replace('neck.base_head.', 'base_head.'): v for k, v in own.items()}
    ensemble['decode_head.conv_seg.weight'] = torch.zeros(7)
    inputs = toys.episodes(1)
    for state in (own, base_learner, ensemble):
        assert taken_weights(model, state).keys() == own.keys()
        other = toys.MODELS.build(CONFIG).eval()
        other.load_state_dict(state, strict=False)
        ModelTester.assert_close(ModelTester.run(other, inputs), ModelTester.run(model, inputs), 0)


@torch.no_grad()
def test_the_neck_gives_what_the_classifier_sees():
    model, images = toys.build(CONFIG), toys.smooth(2, 3, 41, 41, seed=0)
    features, head = model.extract_feat(images), model.neck.base_head
    expected = head(list(features.stages.values()))
    torch.testing.assert_close(head.cls_seg(features.neck), expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match='BaseLearnerNeck'):
        toys.build(dict(CONFIG, neck=None))(toys.episodes(1))


@pytest.mark.parametrize(
    'wrong, named',
    [
        (dict(stages=['layer5']), 'stages='),
        (dict(valid='void'), 'valid='),
        (dict(oracle=True, nearest=True), 'choose one'),
        (dict(recipe=dict(iterations=0)), 'iterations'),
    ],
)
def test_wrong_options_are_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        toys.MODELS.build(dict(CONFIG, decode_head=dict(type='RePRIHead', **wrong)))


def test_released_weights_say_what_they_are():
    state = {f'module.{key}': value for key, value in golden.released_weights('repri_r50_pascal_5shot').items()}
    assert recognise(state).name == 'repri'
    variant, converted = convert_repri(state)
    assert (variant.backbone, variant.dataset, variant.shots) == ('r50', 'pascal', 1)
    assert len(converted) == len(state) and all(key.startswith(('backbone.', 'neck.')) for key in converted)


@pytest.mark.parametrize('case', golden.cases('repri'))
def test_golden_case(case):
    golden.assert_parity(case)
