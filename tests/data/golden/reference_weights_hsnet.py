# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The weights of HSNet's golden cases: filters of the backbone have no mean, or all correlations would be near 0.8.

The ImageNet classifier, which released files carry and nobody uses, is zero.
"""

import json

import numpy as np
from reference_weights import reference_tensor as common_tensor

UNUSED = ('backbone.fc.', 'backbone.classifier.')


def reference_tensor(name, shape):
    if name.startswith(UNUSED):
        return np.zeros(shape, np.float32)
    value = common_tensor(name, shape)
    if name.startswith('backbone.') and len(shape) == 4:
        value = value - value.mean(axis=(1, 2, 3), keepdims=True)
    return value


def reference_state_dict(shapes_json):
    with open(shapes_json) as f:
        return {name: reference_tensor(name, shape) for name, shape in json.load(f).items()}
