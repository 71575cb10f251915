# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The fit of a classifier to one episode: steps of RePRI's authors' code, gradients, independence of the batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from golden import FOLDER

from mmfss.models.layers import FitRecipe, TransductiveFit, fit_classifier, resize, unit_length
from mmfss.models.layers.masks import resize_nearest
from mmfss.models.layers.transductive_fit import ORACLE_RECIPE


@pytest.fixture(scope='module')
def recorded():
    """Two episodes of the authors' code, of 1 and 2 shots; labels at feature size."""
    arrays = {name: torch.as_tensor(array) for name, array in np.load(FOLDER / 'repri_optimisation.npz').items()}
    size = arrays['feat_query'].shape[-2:]
    arrays['labels'] = resize_nearest(arrays['support_mask'].float(), size)
    arrays['valid'] = resize_nearest(arrays['query_mask'].float().unsqueeze(1), size)[:, 0] != 255
    return arrays


def problem(recorded, episodes=slice(None), shots=2):
    return dict(
        query=unit_length(recorded['feat_query'][episodes]),
        support=unit_length(recorded['feat_support'][episodes, :shots]),
        labels=recorded['labels'][episodes, :shots],
        valid=recorded['valid'][episodes],
    )


def probability(fitted, query, size=(97, 129)):
    logits = resize(fitted.logits(query).unsqueeze(1), size)[:, 0]
    return (logits - fitted.bias[:, None, None]).sigmoid()


@torch.inference_mode()
def test_every_step_is_that_of_the_authors_code(recorded):
    fit = TransductiveFit(**problem(recorded))
    classifier = fit.start()
    torch.testing.assert_close(classifier.weight, recorded['prototype_init'], atol=1e-6, rtol=0)
    torch.testing.assert_close(classifier.bias, recorded['bias_init'], atol=1e-5, rtol=0)
    torch.testing.assert_close(classifier.proportion, recorded['pi_init'], atol=1e-6, rtol=0)
    names = dict(ce_path='cross_entropy', kl_path='divergence', entropy_path='entropy')
    for step in range(49):
        losses = fit.losses(classifier)
        for stored, name in names.items():
            torch.testing.assert_close(losses[name], recorded[stored][:, step], atol=5e-6, rtol=1e-5)
        torch.testing.assert_close(classifier.bias, recorded['bias_path'][:, step], atol=1e-5, rtol=0)
        classifier = fit.step(classifier)
        if step == 8:  # the ninth
            classifier = fit.renew(classifier)
    torch.testing.assert_close(classifier.proportion, recorded['pi'], atol=1e-6, rtol=0)
    whole = fit.run()
    assert torch.equal(whole.weight, classifier.weight) and torch.equal(whole.bias, classifier.bias)


def test_probabilities_are_those_of_the_authors_code(recorded):
    given = problem(recorded)
    found = probability(fit_classifier(**given), given['query'])[:, ::4, ::4]
    assert (found - recorded['prob']).abs().max() <= 2e-5 * recorded['prob'].std()


@pytest.mark.parametrize(
    'changed', [dict(iterations=49), dict(iterations=51), dict(t_pi=(11,)), dict(t_pi=()), dict(entropy_weight=0.9)]
)
def test_the_recorded_episodes_tell_recipes_apart(recorded, changed):
    given = problem(recorded)
    found = probability(fit_classifier(**given, recipe=FitRecipe(**changed)), given['query'])[:, ::4, ::4]
    assert (found - recorded['prob']).abs().max() > 1e-3 * recorded['prob'].std()


@pytest.mark.parametrize('recipe', [FitRecipe(), FitRecipe(entropy_weight=0.3, proportion_weight=2.0)])
def test_gradients_are_those_of_autograd(recorded, recipe):
    fit = TransductiveFit(**problem(recorded), recipe=recipe)
    classifier = fit.renew(fit.step(fit.start()))
    weight, bias = classifier.weight.clone().requires_grad_(), classifier.bias.clone().requires_grad_()
    losses = fit.losses(replace(classifier, weight=weight, bias=bias))
    share = torch.tensor([1, 0.5]) if recipe.entropy_weight is None else torch.full((2,), recipe.entropy_weight)
    total = losses['cross_entropy'] + classifier.proportion_weight * losses['divergence'] + share * losses['entropy']
    total.sum().backward()
    moved = fit.step(classifier)
    torch.testing.assert_close((classifier.weight - moved.weight) / recipe.lr, weight.grad, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close((classifier.bias - moved.bias) / recipe.lr, bias.grad, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize('label', [0, 1])
def test_gradients_of_the_first_step_without_one_of_the_kinds(recorded, label):
    """Without foreground w is 0, and 1e-10 is all that its gradient is divided by."""
    given = problem(recorded)
    fit = TransductiveFit(**dict(given, labels=torch.full_like(given['labels'], label)))
    classifier = fit.start()
    weight = classifier.weight.clone().requires_grad_()
    losses = fit.losses(replace(classifier, weight=weight))
    (losses['cross_entropy'] + fit.shot_share * (losses['divergence'] + losses['entropy'])).sum().backward()
    found = (classifier.weight - fit.step(classifier).weight) / fit.recipe.lr
    torch.testing.assert_close(found, weight.grad, atol=1e-5 * weight.grad.abs().max().item(), rtol=1e-4)
    assert (classifier.weight.abs().max() == 0) == (label == 0) == (weight.grad.abs().max() > 1e6)


def test_an_episode_does_not_depend_on_its_batch(recorded):
    """Alone, in a batch with another number of shots, or in another order."""
    given = problem(recorded)
    joint = probability(fit_classifier(**given), given['query'])
    for order in ([1, 0], [0, 0, 1]):
        other = {name: value[order] for name, value in given.items()}
        found = probability(fit_classifier(**other), other['query'])
        assert (found - joint[order]).abs().max() <= 2e-6
    for episode, shots in enumerate((1, 2)):
        alone = problem(recorded, slice(episode, episode + 1), shots)
        found = probability(fit_classifier(**alone), alone['query'])
        assert (found - joint[episode]).abs().max() <= 2e-6
    counted = fit_classifier(**given, num_shots=torch.tensor([1, 2]))
    assert torch.equal(counted.weight, fit_classifier(**given).weight)


def test_a_told_proportion_is_kept_and_aimed_at(recorded):
    given, told = problem(recorded), torch.tensor([[0.5, 0.5], [0.4, 0.6]])
    fit = TransductiveFit(**given)
    fitted = fit_classifier(**given, proportion=told, recipe=ORACLE_RECIPE)
    assert torch.equal(fitted.proportion, told)
    estimated = fit.proportion(fit.run())
    assert ((fit.proportion(fitted) - told).abs() < (estimated - told).abs()).all()


def test_the_nearest_of_two_means_may_tell_the_proportion(recorded):
    given = problem(recorded)
    fit = TransductiveFit(**given)
    share = fit.nearest_proportion()
    for episode, (query, features, labels, valid) in enumerate(zip(*(given[k] for k in given), strict=True)):
        pixels = features.movedim(1, -1)  # (K, h, w, C)
        means = [pixels[labels == side].mean(0) for side in (0, 1)]
        cosine = [torch.nn.functional.cosine_similarity(query, mean[:, None, None], dim=0) for mean in means]
        assert share[episode, 1] == pytest.approx((cosine[1] > cosine[0])[valid].float().mean().item(), abs=1e-6)
    assert torch.equal(fit_classifier(**given, proportion='nearest').weight, fit.run(share).weight)


@pytest.mark.parametrize('label', [0, 1, 255])
@torch.inference_mode()
def test_supports_without_one_of_the_kinds_give_numbers(recorded, label):
    given = problem(recorded)
    fitted = fit_classifier(**dict(given, labels=torch.full_like(given['labels'], label)))
    found = probability(fitted, given['query'])
    assert found.isfinite().all()
    if label == 0:  # nothing is known of the class: background, as the authors' code says
        assert (found < 0.5).all()
    nothing_counts = fit_classifier(**dict(given, valid=torch.zeros_like(given['valid'])))
    assert probability(nothing_counts, given['query']).isfinite().all()


def test_half_precision_is_not_used(recorded):
    given = problem(recorded)
    expected = fit_classifier(**given).weight
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(fit_classifier(**given).weight, expected)


@pytest.mark.parametrize('wrong', [dict(iterations=0), dict(lr=0), dict(temperature=-1), dict(entropy_weight=-1.0)])
def test_impossible_recipes_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FitRecipe(**wrong)


def test_shapes_that_do_not_agree_are_refused(recorded):
    given = problem(recorded)
    with pytest.raises(ValueError, match='do not go together'):
        fit_classifier(**dict(given, labels=given['labels'][:, :1]))
    with pytest.raises(ValueError, match='valid'):
        fit_classifier(**dict(given, valid=given['valid'][:1]))
