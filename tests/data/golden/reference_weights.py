# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The weights of the golden cases: each tensor is drawn from a generator seeded with its own released name."""

import json
from zlib import crc32

import numpy as np


def reference_tensor(name: str, shape: list[int]) -> np.ndarray:
    """The reference value of one entry of a released state dict."""
    rng = np.random.default_rng(crc32(name.encode()))
    kind = name.split('.')[-1]
    if kind == 'num_batches_tracked':
        return np.zeros(shape, np.int64)
    if kind in ('bias', 'running_mean'):
        values = 0.1 * rng.standard_normal(shape)
    elif kind == 'running_var':
        values = rng.uniform(0.5, 1.5, shape)
    elif name.endswith('bn3.weight'):  # small, so that residual sums do not grow
        values = rng.uniform(0.1, 0.3, shape)
    elif len(shape) == 1:
        values = rng.uniform(0.5, 1.5, shape)
    elif np.prod(shape[1:]) <= 8:  # the tiny convs that merge and weight
        values = rng.uniform(0.2, 0.8, shape)
    else:  # He initialisation
        values = rng.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[1:]))
    return np.asarray(values, dtype=np.float32)


def reference_state_dict(shapes_json: str) -> dict[str, np.ndarray]:
    """Released name -> value for every entry of a CASE.shapes.json."""
    with open(shapes_json) as file:
        return {name: reference_tensor(name, shape) for name, shape in json.load(file).items()}
