# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Clocks: competitors take turns in one process, and a matrix product says what the machine allows."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

Run = Callable[[], object]
Prepare = Callable[[int], Run]  # number of the round -> what is timed; its inputs are made outside the clock

_SIDE = dict(cpu=1536, cuda=8192)  # of the matrices; large enough to reach the top speed
_PRODUCTS = 9


def synchronize(device: torch.device) -> None:
    """Wait until the device has done everything; nothing to do on a CPU."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def timed(run: Run, device: torch.device) -> float:
    """Seconds that a call takes, until the device is done."""
    synchronize(device)
    start = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - start


def turns(names: Sequence[str], number: int) -> list[str]:
    """The order of a round: each round another competitor begins, so that drift of the machine hits all alike."""
    first = number % len(names)
    return [*names[first:], *names[:first]]


def alternate(
    competitors: Mapping[str, Prepare], rounds: int, device: torch.device, warmup: int = 1
) -> dict[str, list[float]]:
    """Time competitors in turns.

    Args:
        competitors (Mapping[str, Callable]): Name -> function that gets the number of a round, makes the inputs and
            returns what is to be timed. Rounds that warm up have negative numbers.
        rounds (int): That are timed.
        device (torch.device): Where they compute.
        warmup (int): Rounds before them, whose times are dropped. Defaults to 1.

    Returns:
        dict[str, list[float]]: Seconds of each round.
    """
    seconds = {name: [] for name in competitors}
    for number in range(-warmup, rounds):
        for name in turns(list(competitors), number):
            taken = timed(competitors[name](number), device)
            if number >= 0:
                seconds[name].append(taken)
    return seconds


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles: what one slow round cannot move."""
    if len(values) == 1:
        return dict(median=values[0], low=values[0], high=values[0])
    low, median, high = statistics.quantiles(values, n=4, method='inclusive')
    return dict(median=median, low=low, high=high)


def matrix_product_speed(dtype: torch.dtype, device: torch.device) -> float:
    """Floating-point operations a second of the best of several square matrix products.

    Args:
        dtype (torch.dtype): Of the matrices.
        device (torch.device): Where they are.
    """
    side = _SIDE.get(device.type, _SIDE['cpu'])
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / min(timed(lambda: a @ b, device) for _ in range(_PRODUCTS))
