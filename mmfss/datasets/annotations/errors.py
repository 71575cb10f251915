# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What is wrong with an annotation, and numbers that are no numbers."""

from typing import Any

import numpy as np


class AnnotationError(ValueError):
    """An annotation cannot be used; the message says which one, why, and what helps."""


def finite_numbers(values: Any, what: str) -> np.ndarray:
    """Numbers of a file as a flat float array.

    Args:
        values (Any): A list of numbers, or of texts that are numbers.
        what (str): What they are, for the error.

    Returns:
        np.ndarray: (N,) float64.

    Raises:
        AnnotationError: When one is no number, not finite, or true or false.
    """
    values = list(values) if isinstance(values, (list, tuple, np.ndarray)) else [values]
    if set(map(type, values)) <= {int, float}:
        bad, numbers = [], np.array([_to_float(value) for value in values])
    else:
        bad = [value for value in values if not _is_number(value)]
        numbers = np.array([]) if bad else np.array([float(value) for value in values])
    if bad:
        raise AnnotationError(f'{what} holds {bad[0]!r}, which is no number')
    if not np.isfinite(numbers).all():
        raise AnnotationError(f'{what} holds {numbers[~np.isfinite(numbers)][0]}, which is no finite number')
    return numbers


def _to_float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:  # JSON has integers of any length
        return np.inf


def _is_number(value: Any) -> bool:
    # A JSON `true` would pass for 1.
    if isinstance(value, (bool, list, tuple, dict, type(None))):
        return False
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True
