# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A linear layer over many tokens."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .exporting import exporting
from .similarity import products


class TokenLinear(nn.Linear):
    """nn.Linear, with the same weights, that a CPU computes as :func:`products` does where nothing is trained.

    torch's own takes up to twice as long forwards, but half as long backwards.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C')."""
        if torch.is_grad_enabled() or x.device.type != 'cpu' or exporting():
            return F.linear(x, self.weight, self.bias)
        rows = x.reshape(1, -1, self.in_features)
        return products(rows, self.weight.T.unsqueeze(0), self.bias.unsqueeze(0)).view(*x.shape[:-1], self.out_features)
