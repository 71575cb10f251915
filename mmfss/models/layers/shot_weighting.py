# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Weights of the K shots from their scene differences (BAM, Lang et al. 2022, section 3.6)."""

import torch
from torch import Tensor, nn


class ShotWeighting(nn.Module):
    """Two 1x1 convs on the sorted scene differences, softmax over shots.

    The released code means to undo the sorting but its index arithmetic is the identity: the j-th output weights the
    j-th given shot. That is the default here, since it gives the published numbers.

    Args:
        shots (int): K that the weights are learnt for. Supports of another number are weighted equally.
        hidden (int): Channels between the convs; 0 makes one bias-free conv K -> K that starts with 1 / K everywhere
            (BAM's ``kshot_trans_dim = 0``, in no published config). Defaults to 2.
        restore_order (bool): Give each weight to the shot whose difference it was computed from. Defaults to False.
    """

    def __init__(self, shots: int, hidden: int = 2, restore_order: bool = False):
        super().__init__()
        if shots < 2:
            raise ValueError(f'weights of {shots} shot(s) need no learning: use ShotWeighting for K > 1 only')
        self.shots, self.restore_order = shots, restore_order
        if hidden:
            self.layers = nn.Sequential(nn.Conv2d(shots, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, shots, 1))
        else:
            self.layers = nn.Sequential(nn.Conv2d(shots, shots, 1, bias=False))
            nn.init.constant_(self.layers[0].weight, 1 / shots)

    def forward(self, difference: Tensor) -> Tensor:
        """(B, K) scene differences -> (B, K) weights that sum to one over K."""
        B, K = difference.shape
        if K != self.shots:
            return equal_weights(difference)
        values, order = difference.sort(dim=1)
        weights = self.layers(values[:, :, None, None]).flatten(1).softmax(dim=1)  # (B, K)
        if self.restore_order:
            weights = torch.zeros_like(weights).scatter(1, order, weights)
        return weights


def equal_weights(difference: Tensor) -> Tensor:
    """(B, K) -> (B, K) filled with 1 / K."""
    return torch.full_like(difference, 1 / difference.shape[1])
