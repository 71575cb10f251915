# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Numbers of any type to the 256 grey levels that networks are trained on: one rule for files, arrays, PIL images."""

import numpy as np

from mmfss.utils.notices import tell

BITS = (8, 10, 12, 14, 16, 24, 32)  # that cameras, scanners and microscopes deliver
DARK = 16  # a picture of 256 levels that stays below this is no photograph


def to_8_bit(values: np.ndarray, name: str) -> np.ndarray:
    """Grey levels 0 to 255.

    - 8 bits stay. Whole numbers of more bits lose their last ones: 16 bits the last 8. Where the numbers need fewer
      bits than their type has (12-bit data in a 16-bit file), those bits are taken as the range, and that is said.
    - Floats of 0 to 1 are shares of white, floats of 2 to 255 grey levels; larger ones are as whole numbers.

    Args:
        values (np.ndarray): Any shape; bool, whole or float.
        name (str): How messages name the picture.

    Returns:
        np.ndarray: uint8, same shape.

    Raises:
        ValueError: When there are negative numbers, NaN, infinity, or floats that are neither shares nor levels.
    """
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    if values.dtype == np.uint8:
        top = int(values.max(initial=0))
        if 0 < top < DARK:
            tell(
                'dark images',
                f'{name} is nearly black: its largest value is {top} of 255. Is it a mask, or has it fewer than 8 '
                f'bits? Then scale it to 0..255.',
            )
        return values
    if values.dtype.kind not in 'uif':
        raise ValueError(f'{name} holds values of type {values.dtype}; give whole numbers or floats.')
    if values.dtype.kind == 'f' and not np.isfinite(values).all():
        raise ValueError(f'{name} holds NaN or infinity. Replace what was not measured, and scale it to 0..255.')
    low, top = (values.min(), values.max()) if values.size else (0, 0)
    if low < 0:
        raise ValueError(
            f'{name} holds values from {low:g} to {top:g}: negative ones are no brightness. Is it normalised, or '
            'in units of measurement (CT)? Choose which range is black to white and save it as 8-bit PNG (0..255).'
        )
    if values.dtype.kind == 'f':
        if top <= 1:
            if top > 0:
                tell('floats', f'{name} holds numbers from {low:g} to {top:g}: 0 is read as black, 1 as white.')
            return np.rint(values * 255).astype(np.uint8)
        if top < 2:
            raise ValueError(
                f'{name} holds numbers from {low:g} to {top:g}: either shares of white that overshoot 1, or grey '
                'levels of 0..255. Clip it to 0..1, or save it as 8-bit PNG.'
            )
        if top >= 2 ** BITS[-1]:
            raise ValueError(f'{name} holds numbers up to {top:g}. Scale it to 0..255.')
        values = np.rint(values).astype(np.int64)
    return _shifted(values, int(top), name)


def _shifted(values: np.ndarray, top: int, name: str) -> np.ndarray:
    bits = next((bits for bits in BITS if top < 2**bits), None)
    if bits is None:
        raise ValueError(f'{name} holds numbers up to {top}. Scale it to 0..255.')
    if bits not in (16, 32) and top > 0:
        tell(
            'bit depth',
            f'{name} has more than 8 bits a pixel, but its values reach {top} only: they are read as {bits}-bit '
            f'data, 0..{2**bits - 1} as black to white. If that is wrong, save it as 8-bit PNG.',
        )
    levels = to_8_bit((values >> (bits - 8)).astype(np.uint8), name)
    most = float(np.percentile(levels, 99.9)) if levels.size else 0
    if most < DARK <= levels.max(initial=0):
        tell(
            'dark images',
            f'{name} is nearly black, but for less than one in a thousand of its values, which reach {top}: few bright '
            f'pixels decide how it is read. If they are faults, clip them and save it as 8-bit PNG.',
        )
    return levels
