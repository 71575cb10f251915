# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""mmengine's runner, which also tests methods that have no checkpoint."""

from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop, Runner
from torch import nn

from mmfss.registry import RUNNERS

from .batch_size import accumulated_batches
from .weightless import check_needs_no_checkpoint, has_learned_weights


@RUNNERS.register_module()
class FewShotRunner(Runner):
    """mmengine's Runner with two additions for methods that learn nothing, and one for accumulated gradients.

    A test without a checkpoint runs on what the model's ``init_weights`` loads, or is refused; mmengine would test
    random weights. And a model without gradients is not wrapped for data-parallel training, which PyTorch refuses.
    ``auto_scale_lr`` goes by what a step of the optimiser sees: mmengine leaves the accumulated batches out.
    """

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        """As mmengine's, with the batch size of a step: processes x accumulated batches x batch size."""
        batches = accumulated_batches(self.cfg)
        if batches > 1 and auto_scale_lr and auto_scale_lr.get('enable') and 'base_batch_size' in auto_scale_lr:
            self.logger.info(f'Gradients of {batches} batches make a step: base_batch_size is divided by {batches}.')
            auto_scale_lr = dict(auto_scale_lr, base_batch_size=auto_scale_lr['base_batch_size'] / batches)
        super().scale_lr(optim_wrapper, auto_scale_lr)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """As mmengine's; a model without learned weights is only moved to its device."""
        return super().wrap_model(model_wrapper_cfg, model) if has_learned_weights(model) else model.to(get_device())

    def load_or_resume(self) -> None:
        """As mmengine's; a test without a checkpoint takes the pre-trained weights that the config names.

        Raises:
            ValueError: When the method has learned weights, or its backbone would get none.
            FileNotFoundError: When the pre-trained weights are missing.
        """
        super().load_or_resume()
        if self._has_loaded or isinstance(self._train_loop, BaseLoop):
            return
        check_needs_no_checkpoint(self.model, self.cfg)
        self._init_model_weights()
