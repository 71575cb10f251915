# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What supports say about each query pixel, without a learned weight: prototypes, nearest pixels, a fitted classifier.

Maps here are block features scaled to unit length at each pixel. A *group* is a set of blocks whose cosines are
averaged, which is the cosine of their concatenation.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.structures import STAGES
from mmfss.utils.precision import full_precision

from .masks import resize
from .similarity import products

EPS = 5e-4  # of a mask's area, as masked_average has it
FARTHEST = -1.0  # cosine to the nearest of no pixels
ROWS = 1024  # query pixels that are compared at once: bounds the memory of large images
PARTS = 7  # maps that evidence has of a group
FIT_PARTS = 2  # and of the fitted classifier
MAX_FOREGROUND, MAX_BACKGROUND = 800, 1600  # pixels that the classifier is fitted to


def block_groups(num_blocks: dict[str, int]) -> tuple[tuple[int, ...], ...]:
    """Each block alone, the last ones of layer3 and layer4 (what the prototype floor compares), and all together."""
    ends, total = {}, 0
    for stage in STAGES:
        total += num_blocks[stage]
        ends[stage] = total - 1
    alone = tuple((i,) for i in range(total))
    return (*alone, (ends['layer3'], ends['layer4']), tuple(range(total)))


@full_precision
def unit_map(x: Tensor, size: Sequence[int]) -> Tensor:
    """(N, C, h', w') -> (N, C, h, w) at another size, of length 1 at each pixel."""
    return F.normalize(resize(x, size), dim=1)


def nearest_pixels(
    query: Sequence[Tensor], support: Sequence[Tensor], sides: Tensor, groups: Sequence[Sequence[int]]
) -> Tensor:
    """Cosine of each query pixel to the nearest support pixel of either side.

    Args:
        query (Sequence[Tensor]): Unit maps of the blocks, (B, C_i, h, w).
        support (Sequence[Tensor]): Those of one support each, (B, C_i, h', w').
        sides (Tensor): bool (B, 2, h', w'): which pixels are background, which are foreground.
        groups (Sequence[Sequence[int]]): G groups of blocks.

    Returns:
        Tensor: (B, 2G, h, w): G maps of the background, then G of the foreground; -1 where a side has no pixel.
    """
    h, w = query[0].shape[2:]
    rows = [q.flatten(2).transpose(1, 2) for q in query]  # (B, h*w, C_i)
    columns = [s.flatten(2) for s in support]  # (B, C_i, M)
    found = []
    for b, kept in enumerate(sides.flatten(2)):  # each side has its own number of pixels
        for side in kept:
            own = [c[b : b + 1, :, side] for c in columns]
            parts = [
                _nearest([r[b : b + 1, start : start + ROWS] for r in rows], own, groups)
                for start in range(0, h * w, ROWS)
            ]
            found.append(torch.cat(parts, dim=1))  # (G, h*w)
    return torch.stack(found).view(len(sides), 2 * len(groups), h, w)


def _nearest(rows: list[Tensor], columns: list[Tensor], groups: Sequence[Sequence[int]]) -> Tensor:
    """Largest cosine of each row (1, n, C_i) with any of the columns (1, C_i, M) for each group: (G, n)."""
    if not columns[0].shape[2]:
        return rows[0].new_full((len(groups), rows[0].shape[1]), FARTHEST)
    cosines = [products(r, c) for r, c in zip(rows, columns, strict=True)]  # (1, n, M)
    joined = (cosines[g[0]] if len(g) == 1 else sum(cosines[i] for i in g) / len(g) for g in groups)
    return torch.cat([c.amax(2) for c in joined]).clamp(min=FARTHEST)


def mean_vectors(maps: Tensor, masks: Tensor) -> Tensor:
    """Mean vector of each side, of unit length: the mean over shots of each shot's masked mean.

    Args:
        maps (Tensor): Unit maps (B, K, C, h, w).
        masks (Tensor): Soft masks of background and foreground, (B, K, 2, h, w).

    Returns:
        Tensor: (B, 2, C); zeros for a side without a pixel.
    """
    sums = torch.einsum('bkchw,bkshw->bksc', maps, masks)
    return F.normalize((sums / (masks.sum((3, 4))[..., None] + EPS)).mean(1), dim=2)


def group_cosines(vectors: Sequence[Tensor], maps: Sequence[Tensor], groups: Sequence[Sequence[int]]) -> Tensor:
    """Cosine of each pixel to each side's mean vector, for each group.

    Args:
        vectors (Sequence[Tensor]): Of the blocks, (B, 2, C_i), of length 1 or 0.
        maps (Sequence[Tensor]): Unit maps (B, C_i, ...).
        groups (Sequence[Sequence[int]]): G groups of blocks.

    Returns:
        Tensor: (B, G, 2, ...).
    """
    flat = [m.flatten(2) for m in maps]
    dots = [v @ m for v, m in zip(vectors, flat, strict=True)]  # (B, 2, n)
    lengths = [v.square().sum(2, keepdim=True) for v in vectors]  # (B, 2, 1)
    found = []
    for g in groups:
        length = (sum(lengths[i] for i in g) * len(g)).sqrt().clamp(min=1e-6)
        found.append(sum(dots[i] for i in g) / length)
    return torch.stack(found, dim=1).unflatten(3, maps[0].shape[2:])


def side_means(values: Tensor, masks: Tensor) -> Tensor:
    """Mean of values (B, K, G, h, w) under masks (B, K, 2, h, w): (B, G, 2)."""
    sums = torch.einsum('bkghw,bkshw->bgs', values, masks)
    return sums / (masks.sum((1, 3, 4))[:, None] + EPS)


def _spread(index: Tensor, limit: int) -> Tensor:
    """At most ``limit`` of the indices, evenly over the list."""
    if len(index) <= limit:
        return index
    return index[torch.linspace(0, len(index) - 1, limit, device=index.device).long()]


def fit_pixels(vectors: Tensor, sides: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Ridge regression of the side (+1 foreground, -1 background), both sides of the same weight.

    The penalty is the mean variance of a feature, so it follows the scale of the features. Solved in closed form, by
    pixels or by features, whichever are fewer.

    Args:
        vectors (Tensor): Pixels of all supports, (n, C).
        sides (Tensor): bool (2, n), background and foreground; at most 1,600 and 800 pixels are taken.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Weight (C,), offset (), and the mean fitted value of the sides (2,).
    """
    parts = [_spread(side.nonzero()[:, 0], n) for side, n in zip(sides, (MAX_BACKGROUND, MAX_FOREGROUND), strict=True)]
    kept = torch.cat(parts)
    if not len(kept):
        return vectors.new_zeros(vectors.shape[1]), vectors.new_zeros(()), vectors.new_tensor((-1.0, 1.0))
    x, (back, fore) = vectors[kept], (len(p) for p in parts)
    y = torch.cat([x.new_full((back,), -1.0), x.new_full((fore,), 1.0)])
    share = torch.cat([x.new_full((n,), 0.5 / max(n, 1)) for n in (back, fore)])
    share = share / share.sum()
    mean, level = share @ x, share @ y
    root = share.sqrt()
    centred, target = (x - mean) * root[:, None], (y - level) * root
    penalty = centred.square().sum() / x.shape[1]
    by_pixels = len(kept) < x.shape[1]
    gram = (centred @ centred.T if by_pixels else centred.T @ centred).double()  # features are close to dependent
    gram.diagonal().add_(penalty.clamp(min=1e-8))
    if by_pixels:
        weight = centred.T @ torch.linalg.solve(gram, target.double()).to(x.dtype)
    else:
        weight = torch.linalg.solve(gram, (centred.T @ target).double()).to(x.dtype)
    offset = level - mean @ weight
    fitted = x @ weight + offset
    means = [
        part.mean() if len(part) else x.new_tensor(y)
        for part, y in zip(fitted.split([back, fore]), (-1.0, 1.0), strict=True)
    ]
    return weight, offset, torch.stack(means)
