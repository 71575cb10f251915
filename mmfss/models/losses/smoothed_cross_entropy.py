# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Cross entropy with label smoothing on label maps that hold ignored pixels."""

import torch.nn.functional as F
from torch import Tensor, nn

from mmfss.registry import MODELS


@MODELS.register_module()
class SmoothedCrossEntropyLoss(nn.Module):
    """Cross entropy whose target is 1 - s for the true class, the rest shared by the other classes (RePRI).

    PyTorch's ``label_smoothing`` shares among all classes, the true one too. The mean is over the pixels that are not
    ignored.

    Args:
        smoothing (float): The share s that the true class gives away. Defaults to 0.1.
        loss_weight (float): Factor of the loss. Defaults to 1.
        loss_name (str): As in mmseg: it enters the total when it starts with 'loss_'. Defaults to 'loss_ce'.

    Raises:
        ValueError: When ``smoothing`` is not in 0..1, 1 left out.
    """

    def __init__(self, smoothing: float = 0.1, loss_weight: float = 1.0, loss_name: str = 'loss_ce'):
        super().__init__()
        if not 0 <= smoothing < 1:
            raise ValueError(f'smoothing={smoothing}: the share of the other classes is at least 0 and below 1')
        self.smoothing, self.loss_weight, self.loss_name = smoothing, loss_weight, loss_name

    def forward(self, scores: Tensor, labels: Tensor, ignore_index: int = 255, **kwargs) -> Tensor:
        """Scalar loss of scores (B, C, H, W) and labels (B, H, W); 0 where every pixel is ignored."""
        if not (labels != ignore_index).any():
            return scores.sum() * 0  # PyTorch's mean over nothing is not a number
        classes = scores.shape[1]
        return self.loss_weight * F.cross_entropy(
            scores.float(),
            labels,
            ignore_index=ignore_index,
            label_smoothing=min(self.smoothing * classes / (classes - 1), 1.0),
        )
