# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The golden cases of tests/data/golden: outputs of released code on weights that anyone can rebuild.

The weights are not stored. Each tensor of the released state dict is drawn from a generator seeded
with its own name, so names and shapes (``*.shapes.json``) are enough to rebuild a checkpoint.
"""

from pathlib import Path

import torch
from helpers import load_script
from torch import Tensor

from mmfss.conversion import METHODS
from mmfss.conversion.parity import Case, compare, find_cases

FOLDER = Path(__file__).parent / 'data' / 'golden'
_RULE = load_script(FOLDER / 'reference_weights.py')


def draw_tensor(name: str, shape: list[int]) -> Tensor:
    """The reference value of one entry of a released state dict."""
    return torch.as_tensor(_RULE.reference_tensor(name, shape))


def case(name: str) -> Case:
    """A case by its name."""
    return next(found for found in find_cases(FOLDER)[0] if found.name == name)


def cases(method: str) -> list[str]:
    """Names of all cases of a method."""
    return [found.name for found in find_cases(FOLDER, [method])[0]]


def released_weights(name: str) -> dict[str, Tensor]:
    """State dict of a golden case under the released names."""
    return case(name).released_weights()


def assert_parity(name: str) -> None:
    """mmfss computes every output, loss and gradient norm of a case as the released code does."""
    found = compare(case(name))
    tolerance = METHODS[case(name).method].tolerance
    assert {key.split('/')[0] for key in found} == {'output', 'loss', 'gradient'}
    too_far = {key: value for key, value in found.items() if not value <= tolerance(key)}
    assert not too_far
