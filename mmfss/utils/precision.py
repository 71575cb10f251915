# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Number formats: what may run in half precision, and what must not.

Parameter-free maths stays in float32 under autocast: norms, Gram matrices and min-max scaling overflow in half.
"""

import argparse
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps

import torch
from torch import Tensor

PRECISIONS = ('float32', 'bfloat16', 'auto')


def _full(value, keep: tuple[torch.dtype, ...] = ()):
    if isinstance(value, Tensor) and value.is_floating_point() and value.dtype not in keep:
        return value.float()
    if isinstance(value, dict):
        return {k: _full(v, keep) for k, v in value.items()}
    return value


def without_autocast(device_type: str) -> AbstractContextManager:
    """Autocast off; no context at all where it is off already, so that a recorded graph holds none."""
    if torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def _without_half(function: Callable, keep: tuple[torch.dtype, ...]) -> Callable:
    @wraps(function)
    def wrapped(first: Tensor, *args, **kwargs):
        with without_autocast(first.device.type):
            full = {k: _full(v, keep) for k, v in kwargs.items()}
            return function(_full(first, keep), *(_full(a, keep) for a in args), **full)

    return wrapped


def full_precision(function: Callable) -> Callable:
    """Decorator: run with autocast off and floating tensors (also in dicts) as float32. The first is a tensor."""
    return _without_half(function, ())


def operand_precision(function: Callable) -> Callable:
    """As :func:`full_precision`, but bfloat16 tensors stay: the function multiplies them and adds up in float32."""
    return _without_half(function, (torch.bfloat16,))


def same_operands(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both as they are when they have one number format, else both in float32."""
    return (a, b) if a.dtype == b.dtype else (a.float(), b.float())


def fast_bfloat16(device: torch.device | str) -> bool:
    """Whether a device computes in bfloat16 rather than imitating it: GPUs since Ampere, CPUs with AVX512-BF16, AMX."""
    kind = torch.device(device).type
    if kind == 'cuda':
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != 'cpu' or not hasattr(torch.cpu, 'get_capabilities'):  # torch < 2.10 cannot tell
        return False
    able = torch.cpu.get_capabilities()
    return any(able.get(feature, False) for feature in ('avx512_bf16', 'amx_bf16', 'bf16'))


def check_precision(precision: str) -> str:
    """One of PRECISIONS.

    Raises:
        ValueError: When it is another.
    """
    if precision not in PRECISIONS:
        raise ValueError(f'precision={precision!r}: choose from {", ".join(PRECISIONS)}')
    return precision


def add_precision_option(parser: argparse.ArgumentParser) -> None:
    """The option ``--precision``, None where it is left out."""
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        help='number format to compute in; bfloat16 is faster where the device computes in it, auto takes '
        "it there (the model's own, float32 as a rule)",
    )


def in_bfloat16(precision: str, device: torch.device | str) -> bool:
    """Whether inference of a precision runs in bfloat16 on a device.

    'bfloat16' and 'auto' do where :func:`fast_bfloat16` finds that it computes in it. Elsewhere bfloat16 is slower than
    float32 and less exact, so float32 takes its place, which 'bfloat16' says in a warning.
    """
    if check_precision(precision) == 'float32':
        return False
    if fast_bfloat16(device):
        return True
    if precision == 'bfloat16':
        # Python's own filter shows it once.
        warnings.warn(
            f"precision='bfloat16': the device {torch.device(device).type} does not compute in bfloat16 (a CPU needs "
            'AVX512-BF16 or AMX, a GPU the Ampere generation); float32 is used',
            stacklevel=2,
        )
    return False


def autocast_to(dtype: str | None, device: torch.device) -> AbstractContextManager:
    """Autocast on ``device`` to 'bfloat16' or 'float16'; None leaves the surrounding precision as it is.

    'auto' is bfloat16 where :func:`fast_bfloat16` finds it worth while, else None.

    Raises:
        ValueError: When the name is another.
    """
    if dtype == 'auto':
        dtype = 'bfloat16' if fast_bfloat16(device) else None
    if dtype is None:
        return nullcontext()
    if dtype not in ('bfloat16', 'float16'):
        raise ValueError(f"compute_dtype='{dtype}': choose None, 'auto', 'bfloat16' or 'float16'")
    return torch.autocast(torch.device(device).type, getattr(torch, dtype))
