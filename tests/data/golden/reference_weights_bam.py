# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The weights of BAM's golden cases: four small tensors keep both learners undecided, or outputs would be constant."""

import json

import numpy as np
from reference_weights import reference_tensor as common_tensor


def reference_tensor(name: str, shape: list[int]) -> np.ndarray:
    """The reference value of one entry of a released state dict."""
    values = common_tensor(name, shape)
    if name == 'learner_base.1.4.weight':
        return values * np.float32(0.3)
    if name == 'learner_base.1.4.bias':  # background
        values[0] += np.float32(6 * (shape[0] / 16) ** 0.5)
    if name == 'cls_meta.3.bias':
        return (values + np.array([1.8, -1.8])).astype(np.float32)
    merging = {'gram_merge.weight': [3, 0.7], 'cls_merge.weight': [0.9, 1.1]}
    return np.array(merging[name], np.float32).reshape(shape) if name in merging else values


def reference_state_dict(shapes_json: str) -> dict[str, np.ndarray]:
    """Released name -> value for every entry of a CASE.shapes.json."""
    with open(shapes_json) as file:
        return {name: reference_tensor(name, shape) for name, shape in json.load(file).items()}
