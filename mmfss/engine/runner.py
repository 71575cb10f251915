# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""mmengine's runner, whose trainings go on exactly, and which also tests methods that have no checkpoint."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop, Runner
from torch import nn

from mmfss.registry import RUNNERS
from mmfss.utils.dependency_noise import KnownMessages
from mmfss.utils.files import AGAIN, RESUME, explain_write_error
from mmfss.utils.weights import bare_model

from .batch_size import accumulated_batches
from .hooks.feature_store_hook import FeatureStoreHook
from .repeatable_draws import IterationSeedHook, repeatable
from .weightless import check_needs_no_checkpoint, has_learned_weights


@contextmanager
def _names_work_dir(work_dir: str, cure: str) -> Iterator[None]:
    """A full disk gives an error without a name to whoever writes to an open file, as loggers do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or error.filename is not None:
            raise
        folder = Path(work_dir)
        raise OSError(error.errno, explain_write_error(error, folder / 'log', cure), str(folder)) from error


@RUNNERS.register_module()
class FewShotRunner(Runner):
    """mmengine's Runner with repeatable random draws and accumulated gradients, also for methods that learn nothing.

    What a training draws follows from its seed and from how far it is (:mod:`mmfss.engine.repeatable_draws`), so that
    it ends in the same weights whether it was interrupted or not.
    ``train_cfg=dict(feature_store=dict(...))`` trains on stored features, see :class:`FeatureStoreHook`.

    A test without a checkpoint runs on what the model's ``init_weights`` loads, or is refused; mmengine would test
    random weights. And a model without gradients is not wrapped for data-parallel training, which PyTorch refuses.
    ``auto_scale_lr`` goes by what a step of the optimiser sees: mmengine leaves the accumulated batches out.
    """

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """As mmengine's, without what it says of itself."""
        logger = super().build_logger(*args, **kwargs)
        logger.addFilter(KnownMessages())
        return logger

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """As mmengine's, with random draws that do not depend on when the process was started.

        ``feature_store`` of the loop's config becomes a hook.
        """
        if isinstance(self._train_dataloader, dict):
            self._train_dataloader = repeatable(self._train_dataloader, self.seed)
        self.register_hook(IterationSeedHook())
        if isinstance(loop, dict) and loop.get('feature_store') is not None:
            self.register_hook(FeatureStoreHook(**loop['feature_store']))
        if isinstance(loop, dict):
            loop = {key: value for key, value in loop.items() if key != 'feature_store'}
        return super().build_train_loop(loop)

    def train(self) -> nn.Module:
        """As mmengine's.

        Raises:
            OSError: When a log or another file in the work dir cannot be written; names the folder and the space left.
        """
        with _names_work_dir(self.work_dir, RESUME):
            return super().train()

    def test(self) -> dict[str, float]:
        """As mmengine's; the log says how many images were encoded and how often they came again.

        Raises:
            OSError: When a file cannot be written, as :meth:`train`.
        """
        with _names_work_dir(self.work_dir, AGAIN):
            metrics = super().test()
            store = getattr(bare_model(self.model), 'feature_cache', None)
            if store is not None:
                self.logger.info(store.summary())
        return metrics

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
