# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""mmengine's runner, which also tests methods that have no checkpoint."""

from mmengine.device import get_device
from mmengine.runner import BaseLoop, Runner
from torch import nn

from mmfss.registry import RUNNERS
from mmfss.utils.weights import bare_model

from .weightless import check_needs_no_checkpoint, has_learned_weights


@RUNNERS.register_module()
class FewShotRunner(Runner):
    """mmengine's Runner with two additions for methods that learn nothing, and one line about every test.

    A test without a checkpoint runs on what the model's ``init_weights`` loads, or is refused; mmengine would test
    random weights. And a model without gradients is not wrapped for data-parallel training, which PyTorch refuses.
    """

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """As mmengine's; a model without learned weights is only moved to its device."""
        return super().wrap_model(model_wrapper_cfg, model) if has_learned_weights(model) else model.to(get_device())

    def test(self) -> dict[str, float]:
        """As mmengine's; the log says how many images were encoded and how often they came again."""
        metrics = super().test()
        store = getattr(bare_model(self.model), 'feature_cache', None)
        if store is not None:
            self.logger.info(store.summary())
        return metrics

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
