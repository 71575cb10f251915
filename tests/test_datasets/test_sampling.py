# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""How training episodes are drawn."""

import numpy as np
import pytest
from helpers import pascal

from mmfss.datasets import EpisodicDataset
from mmfss.datasets.sampling import ClassSampler, ImageSampler, PairSampler, training_sampler
from mmfss.registry import DATASETS


@pytest.fixture(scope='module')
def data(voc):
    return DATASETS.build(pascal(voc, 'train', fold=2))


def test_the_argument_names_the_sampler(data):
    assert type(training_sampler(data, 1)) is ImageSampler
    assert type(training_sampler(data, 1, class_power=0.0)) is ClassSampler
    assert type(training_sampler(data, 1, every_pair=True)) is PairSampler
    with pytest.raises(ValueError, match='give one of them'):
        EpisodicDataset(data, class_power=0.0, every_pair=True)


def test_every_pair_once(data):
    sampler = training_sampler(data, 2, every_pair=True)
    drawn = [sampler.draw(i) for i in range(len(sampler))]
    assert {(query, class_id) for class_id, query, _ in drawn} == sampler.query_pairs() == sampler.support_pairs()
    assert len(drawn) == len(sampler) == len(sampler.query_pairs())
    assert all(query not in supports and len(set(supports)) == 2 for _, query, supports in drawn)


@pytest.mark.parametrize(
    'power, expected',
    [
        (
            None,
            [
                (1, 'train_01_0', ['train_01_2', 'train_01_1']),
                (6, 'train_06_0', ['train_06_1', 'train_06_3']),
                (16, 'train_16_1', ['train_16_2', 'train_16_3']),
            ],
        ),
        (
            0.5,
            [
                (9, 'train_09_1', ['train_09_2', 'train_09_3']),
                (8, 'train_08_1', ['train_08_0', 'train_08_2']),
                (2, 'train_02_2', ['train_02_0', 'train_02_3']),
            ],
        ),
    ],
)
def test_draws_stay_what_they_are(data, power, expected):
    """A seed means the same training from version to version."""
    sampler = training_sampler(data, 2, power)
    np.random.seed(3)
    draws = [sampler.draw(i) for i in range(0, len(sampler), 20)]
    found = [
        (class_id, data.name(query), [data.name(place) for place in supports]) for class_id, query, supports in draws
    ]
    assert found == expected
    for class_id, query, supports in draws:
        assert class_id in sampler.class_ids and query not in supports and len(set(supports)) == 2
