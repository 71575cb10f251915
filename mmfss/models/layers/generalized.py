# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""BAM's generalised few-shot decision (Lang et al. 2022): background, base classes and the novel class."""

import torch
from torch import Tensor

MERGES = ('final', 'base')


def generalized_labels(final: Tensor, base_logits: Tensor, threshold: float = 0.9, merge: str = 'final') -> Tensor:
    """One label map of the ensemble's and the base learner's scores.

    Args:
        final (Tensor): Scores of background and the novel class, (B, 2, H, W).
        base_logits (Tensor): Of background and base classes, (B, 1 + N_base, H, W).
        threshold (float): The novel class is where the softmax of ``final`` gives it more. ``final`` holds scores
            and no logits; the released code applies softmax to it all the same. Defaults to 0.9.
        merge (str): 'final': the novel class goes before base classes (the released config's Eq. 18); 'base': the other
            way round (Eq. S1). Defaults to 'final'.

    Returns:
        Tensor: (B, H, W) int64: 0 background, 1..N_base base classes, N_base + 1 the novel class.

    Raises:
        ValueError: When ``merge`` is unknown.
    """
    if merge not in MERGES:
        raise ValueError(f"merge='{merge}': choose from {MERGES}")
    base, own = base_logits.argmax(1), base_logits.shape[1]
    novel = final.softmax(1)[:, 1] > threshold
    return torch.where(novel if merge == 'final' else novel & (base == 0), own, base)
