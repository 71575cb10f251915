# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Training in bfloat16 on any device that computes in it: mmengine's AmpOptimWrapper refuses CPUs."""

from contextlib import contextmanager

from mmengine.optim import OptimWrapper
from torch import nn

from mmfss.registry import OPTIM_WRAPPERS
from mmfss.utils.precision import autocast_to


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """OptimWrapper that runs the forward pass under autocast to bfloat16.

    Bfloat16 has float32's range, so there is no loss to scale. Weights and optimiser stay in float32. CPUs that know
    the format train a small network two to three times as fast.

    Args:
        force (bool): Use bfloat16 also on devices that only imitate it, slowly. Defaults to False: those train in
            float32.
        **kwargs: Those of :class:`mmengine.optim.OptimWrapper`.
    """

    def __init__(self, force: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.dtype = 'bfloat16' if force else 'auto'

    @contextmanager
    def optim_context(self, model: nn.Module):
        """Autocast on the device of the model's weights, around what the base class does."""
        with super().optim_context(model), autocast_to(self.dtype, next(model.parameters()).device):
            yield
