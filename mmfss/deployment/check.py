# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Does an exported model give the scores of the original, and how fast."""

import statistics
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfss.models.layers import resize

Runner = Callable[[Tensor, Tensor, Tensor], Tensor]  # images (K, 3, H, W), masks (K, H, W), query -> scores


def structured_input(shots: int, support: Sequence[int], query: Sequence[int], seed: int = 0) -> tuple[Tensor, ...]:
    """Images with large and small structure, and masks of one ellipse each.

    Args:
        shots (int): K.
        support (Sequence[int]): (H, W) of the supports.
        query (Sequence[int]): (H, W) of the query.
        seed (int): Of the random numbers.

    Returns:
        tuple: Images (K, 3, H, W) about as normalised photos are, masks (K, H, W) of 0. and 1., query (1, 3, H', W').
    """
    generator = torch.Generator().manual_seed(seed)

    def image(n: int, size: Sequence[int]) -> Tensor:
        coarse = torch.randn(n, 3, 5, 6, generator=generator)
        return F.interpolate(coarse, tuple(size), mode='bilinear') + 0.2 * torch.randn(n, 3, *size, generator=generator)

    def ellipse(size: Sequence[int]) -> Tensor:
        y, x = (torch.linspace(0, 1, side) for side in size)
        top, left, high, wide = (0.3 + 0.4 * torch.rand(4, generator=generator)).tolist()
        return (((y[:, None] - top) / (0.5 * high)) ** 2 + ((x - left) / (0.5 * wide)) ** 2 < 1).float()

    return image(shots, support), torch.stack([ellipse(support) for _ in range(shots)]), image(1, query)


@torch.no_grad()
def reference(model: nn.Module) -> Runner:
    """The model itself, as evaluation runs it."""

    @torch.no_grad()
    def run(images: Tensor, masks: Tensor, query: Tensor) -> Tensor:
        bank = model.encode_support(images.unsqueeze(0), masks.unsqueeze(0))
        return resize(model.segment(model.extract_feat(query), bank)['final'], query.shape[-2:])

    return run


def compare(exported: Runner, original: Runner, inputs: Sequence[tuple[Tensor, ...]]) -> list[tuple[float, float]]:
    """Largest difference of scores, and share of pixels with the same mask, for each input.

    Raises:
        ValueError: When the exported model gives scores of another shape.
    """
    found = []
    for given in inputs:
        scores, expected = exported(*given), original(*given)
        if scores.shape != expected.shape:
            raise ValueError(f'the exported model gives scores {tuple(scores.shape)}, not {tuple(expected.shape)}')
        same = (scores.argmax(1) == expected.argmax(1)).float().mean().item()
        found.append(((scores - expected).abs().max().item(), same))
    return found


def time_ratio(first: Callable[[], object], second: Callable[[], object], rounds: int = 5) -> tuple[float, float]:
    """Median seconds of two calls that take turns, so that a busy machine slows both alike."""
    first(), second()
    times = [], []
    for _ in range(rounds):
        for call, own in zip((first, second), times, strict=True):
            start = time.perf_counter()
            call()
            own.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])
