# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""mmengine's runner, which also tests methods that have no checkpoint and trains on feature stores."""

from mmengine.device import get_device
from mmengine.runner import BaseLoop, Runner
from torch import nn

from mmfss.registry import RUNNERS

from .hooks.feature_store_hook import FeatureStoreHook
from .weightless import check_needs_no_checkpoint, has_learned_weights


@RUNNERS.register_module()
class FewShotRunner(Runner):
    """mmengine's Runner with two additions for methods that learn nothing, and one for frozen backbones.

    ``train_cfg=dict(feature_store=dict(...))`` trains on stored features, see :class:`FeatureStoreHook`.

    A test without a checkpoint runs on what the model's ``init_weights`` loads, or is refused; mmengine would test
    random weights. And a model without gradients is not wrapped for data-parallel training, which PyTorch refuses.
    """

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """As mmengine's; ``feature_store`` of the loop's config becomes a hook."""
        if isinstance(loop, dict) and loop.get('feature_store') is not None:
            self.register_hook(FeatureStoreHook(**loop['feature_store']))
        if isinstance(loop, dict):
            loop = {key: value for key, value in loop.items() if key != 'feature_store'}
        return super().build_train_loop(loop)

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
