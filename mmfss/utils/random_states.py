# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The random states of a process on the CPU: Python's, NumPy's and PyTorch's."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def random_states_kept() -> Iterator[None]:
    """Whatever the block seeds and draws, the states are afterwards as before."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
