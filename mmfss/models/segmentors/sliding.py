# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Large queries in overlapping windows (mmseg's ``test_cfg=dict(mode='slide', ...)``)."""

from collections.abc import Callable, Iterator, Mapping
from numbers import Integral

import torch
from torch import Tensor

from ..layers import resize

Scores = dict[str, Tensor]
_KEYS = {'mode', 'crop_size', 'stride'}


def check_test_cfg(test_cfg: Mapping | None) -> dict:
    """``test_cfg`` as a dict with ``mode``, and for 'slide' ``crop_size`` and ``stride`` as pairs (h, w).

    Raises:
        ValueError: When a mode or field is unknown, or windows are missing or leave gaps.
    """
    found = dict(test_cfg or {})
    found.setdefault('mode', 'whole')
    if unknown := set(found) - _KEYS:
        raise ValueError(f'test_cfg has no field {sorted(unknown)}; it takes {sorted(_KEYS)}')
    if found['mode'] not in ('whole', 'slide'):
        raise ValueError(f"test_cfg.mode is {found['mode']!r}; choose 'whole' or 'slide'")
    if found['mode'] == 'slide':
        for key in ('crop_size', 'stride'):
            value = found.get(key)
            value = (value, value) if isinstance(value, Integral) else tuple(value or ())
            if len(value) != 2 or min(value) < 1:
                raise ValueError(f"test_cfg.mode='slide' needs {key}=(height, width) in pixels, got {found.get(key)!r}")
            found[key] = value
        if any(step > side for step, side in zip(found['stride'], found['crop_size'], strict=True)):
            raise ValueError(f'test_cfg: stride {found["stride"]} is beyond crop_size {found["crop_size"]}: gaps')
    return found


def windows(
    size: tuple[int, int], crop_size: tuple[int, int], stride: tuple[int, int]
) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of windows that cover an image; the last ones end at its border, as in mmseg."""

    def starts(length: int, crop: int, step: int) -> list[int]:
        count = max(length - crop + step - 1, 0) // step + 1
        return [max(min(i * step, length - crop), 0) for i in range(count)]

    for top in starts(size[0], crop_size[0], stride[0]):
        for left in starts(size[1], crop_size[1], stride[1]):
            yield slice(top, min(top + crop_size[0], size[0])), slice(left, min(left + crop_size[1], size[1]))


def slide(
    images: Tensor,
    padding: Tensor | None,
    segment: Callable[[Tensor, Tensor | None], list[Scores]],
    crop_size: tuple[int, int],
    stride: tuple[int, int],
) -> list[Scores]:
    """Scores at image size, averaged where windows overlap.

    Args:
        images (Tensor): (B, 3, H, W).
        padding (Tensor, optional): (B, H, W).
        segment (Callable): A window's images and padding -> for each bank, name -> scores (B, channels, h, w).
        crop_size (tuple[int, int]): Height and width of a window.
        stride (tuple[int, int]): Steps down and to the right.

    Returns:
        list[Scores]: For each bank, name -> (B, channels, H, W).
    """
    size = tuple(images.shape[-2:])
    totals: list[Scores] = []
    count = torch.zeros(size, device=images.device)
    for rows, columns in windows(size, crop_size, stride):
        window = images[..., rows, columns]
        found = segment(window, None if padding is None else padding[..., rows, columns])
        if not totals:
            totals = [
                {name: score.new_zeros(*score.shape[:2], *size) for name, score in scores.items()} for scores in found
            ]
        for total, scores in zip(totals, found, strict=True):
            for name, score in scores.items():
                total[name][..., rows, columns] += resize(score, window.shape[-2:])
        count[rows, columns] += 1
    return [{name: score / count for name, score in total.items()} for total in totals]
