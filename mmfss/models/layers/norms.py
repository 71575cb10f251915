# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""BatchNorm layers that keep their statistics while the rest of a network trains."""

from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import nn


def eval_norms(module: nn.Module) -> None:
    """Put every BatchNorm of a module into eval mode, of any dimension and synchronised ones too."""
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.eval()
