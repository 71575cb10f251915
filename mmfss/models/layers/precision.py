# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Number formats: what may run in half precision, and what must not.

Parameter-free maths stays in float32 under autocast: norms, Gram matrices and min-max scaling overflow in half.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Callable, Optional

import torch
from torch import Tensor


def _full(value):
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.float()
    if isinstance(value, dict):
        return {k: _full(v) for k, v in value.items()}
    return value


def full_precision(function: Callable) -> Callable:
    """Decorator: run with autocast off and floating tensors (also in dicts) as float32. The first argument is a tensor."""

    @wraps(function)
    def wrapped(first: Tensor, *args, **kwargs):
        with torch.autocast(first.device.type, enabled=False):
            return function(_full(first), *(_full(a) for a in args), **{k: _full(v) for k, v in kwargs.items()})

    return wrapped


def autocast_to(dtype: Optional[str], device: torch.device) -> AbstractContextManager:
    """Autocast on ``device`` to 'bfloat16' or 'float16'; None leaves the surrounding precision as it is.

    Raises:
        ValueError: for any other name.
    """
    if dtype is None:
        return nullcontext()
    if dtype not in ('bfloat16', 'float16'):
        raise ValueError(f"compute_dtype='{dtype}': choose None, 'bfloat16' or 'float16'")
    return torch.autocast(device.type, getattr(torch, dtype))
