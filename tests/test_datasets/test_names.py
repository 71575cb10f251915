# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import pickle

import pytest

from mmfss.datasets.names import Names

LIST = ['a', '', 'bee/größe', '日本', 'COCO_train2014_000000000009']


def test_names_are_a_list():
    names = Names(LIST)
    assert list(names) == LIST and [names[i] for i in range(-5, 5)] == 2 * LIST
    assert len(names) == 5 and 'a' in names and not len(Names([]))
    with pytest.raises(IndexError):
        names[5]
    assert list(pickle.loads(pickle.dumps(names))) == LIST


def test_names_take_little_memory():
    names = Names([f'COCO_train2014_{i:012d}' for i in range(10_000)])
    assert len(pickle.dumps(names)) < 40 * len(names)
