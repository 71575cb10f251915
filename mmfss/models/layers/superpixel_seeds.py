# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Where the superpixels of a support mask begin (ASGNet, Li et al. 2021; maskSLIC's placement).

Seeds lie as far as possible from the background and from each other, inside the mask's bounding box. Squared distances
are whole numbers and exact in float32, so the seeds are those of scipy's distance transform in the released code.
"""

import torch
from torch import Tensor

FAR = 2.0**22  # farther than any squared distance inside a map


def place_seeds(mask: Tensor, most: int = 5, area: float = 100) -> tuple[Tensor, Tensor]:
    """Seeds of each mask.

    Args:
        mask (Tensor): bool (N, h, w) at feature size.
        most (int): S, the largest number of seeds. Defaults to 5.
        area (float): Pixels for which there is one seed each. Defaults to 100.

    Returns:
        tuple[Tensor, Tensor]: Seeds int64 (N, S, 2), row and column in the map, zeros where there is none; how many
        were placed, int64 (N,): min(round(pixels / area), S), round half to even, and 0 in place of 1.
    """
    N, h, w = mask.shape
    number = (mask.flatten(1).sum(1) / area).round().long().clamp(max=most)  # (N,)
    number = torch.where(number > 1, number, 0)
    box = _span(mask.any(2)).unsqueeze(2) & _span(mask.any(1)).unsqueeze(1)  # (N, h, w)
    distance, corner = _distance_inside(box & ~mask), _distance_from_corner(box)
    # A box without background: scipy measures from the place before its first row.
    bounded = (box & ~mask).flatten(1).any(1)[:, None, None]
    seeds = []
    for _ in range(most):
        field = torch.where(box, torch.where(bounded, distance, corner), -1.0)
        place = field.flatten(1).argmax(1)  # (N,), the first of equal ones
        row = place // w
        column = place - row * w  # ONNX cannot take the remainder of a size
        seeds.append(torch.stack([row, column], dim=1))
        distance = torch.minimum(distance, _squared(row, h).unsqueeze(2) + _squared(column, w).unsqueeze(1))
        bounded = torch.ones_like(bounded)
    placed = torch.arange(most, device=mask.device) < number.unsqueeze(1)  # (N, S)
    return torch.stack(seeds, dim=1) * placed.unsqueeze(2), number


def recount(seeds: Tensor) -> Tensor:
    """How many seeds the released model finds in its filled-up array (N, S, 2): int64 (N,).

    It counts rows and columns that are not 0 and takes the larger number: seeds in row 0 and in column 0 cost one.
    """
    return (seeds != 0).sum(1).amax(1)


def _span(line: Tensor) -> Tensor:
    """From the first True to the last: bool (N, L) -> bool (N, L)."""
    count = line.long().cumsum(1)
    return (count > 0) & ((count < count[:, -1:]) | line)


def _squared(place: Tensor, length: int) -> Tensor:
    """Squared distances of places (N,) to 0, ..., length - 1: float32 (N, length)."""
    return (torch.arange(length, device=place.device) - place.unsqueeze(1)).square().float()


def _distance_inside(background: Tensor) -> Tensor:
    """Squared Euclidean distance to the nearest background, bool (N, h, w) -> float32 (N, h, w); columns, then rows."""
    _, h, w = background.shape
    between = [_squared(torch.arange(length, device=background.device), length) for length in (h, w)]
    vertical = torch.where(background, 0.0, FAR).unsqueeze(1) + between[0].unsqueeze(2)  # (N, h, h, w)
    return (vertical.amin(2).unsqueeze(2) + between[1]).amin(3)  # (N, h, w, w) -> (N, h, w)


def _distance_from_corner(box: Tensor) -> Tensor:
    """Squared distance to the place (-1, 0) of a box, bool (N, h, w) -> float32 (N, h, w)."""
    _, h, w = box.shape
    top, left = box.any(2).float().argmax(1), box.any(1).float().argmax(1)  # (N,) each
    return _squared(top - 1, h).unsqueeze(2) + _squared(left, w).unsqueeze(1)
