# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Cross entropy with class weights on label maps that hold ignored pixels."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfss.registry import MODELS


@MODELS.register_module()
class WeightedCrossEntropyLoss(nn.Module):
    """PyTorch's weighted cross entropy: a weighted mean over the pixels that are not ignored.

    mmseg's CrossEntropyLoss takes class weights too, but its average fails on label maps with ignored pixels.

    Args:
        class_weight (Sequence[float]): Weight of each class; background and foreground for a meta head.
        loss_weight (float): Factor of the loss. Defaults to 1.
        loss_name (str): As in mmseg: it enters the total when it starts with 'loss_'. Defaults to 'loss_ce'.

    Raises:
        ValueError: When a weight is not positive.
    """

    def __init__(self, class_weight: Sequence[float], loss_weight: float = 1.0, loss_name: str = 'loss_ce'):
        super().__init__()
        if not class_weight or min(class_weight) <= 0:
            raise ValueError(f'class_weight={class_weight}: give a positive weight for each class')
        self.register_buffer('class_weight', torch.tensor(class_weight, dtype=torch.float), persistent=False)
        self.loss_weight, self.loss_name = loss_weight, loss_name

    def forward(self, scores: Tensor, labels: Tensor, ignore_index: int = 255, **kwargs) -> Tensor:
        """Scalar loss of scores (B, C, H, W) and labels (B, H, W); 0 where every pixel is ignored."""
        if not (labels != ignore_index).any():
            return scores.sum() * 0  # PyTorch's mean over nothing is not a number
        return self.loss_weight * F.cross_entropy(
            scores.float(), labels, weight=self.class_weight, ignore_index=ignore_index
        )
