# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The hand-over from stage 1 to stage 2."""

from pathlib import Path

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import weights_to_cpu

from mmfss.registry import HOOKS
from mmfss.utils.checkpoint_files import CheckpointFileError, not_finite, some
from mmfss.utils.checkpoint_meta import base_class_names, plain_values
from mmfss.utils.files import RESUME, atomic_torch_save
from mmfss.utils.plain_errors import StopError
from mmfss.utils.weights import bare_model, model_state, read_checkpoint

KEPT_PREFIXES = ('backbone.', 'decode_head.')


@HOOKS.register_module()
class BaseLearnerCheckpointHook(Hook):
    """Writes ``<work_dir>/base_learner.pth`` when the base learner's training ends.

    The file holds ``state_dict`` (the ``backbone.*`` and ``decode_head.*`` weights: the best ones
    by validation mIoU where a best checkpoint exists, else the last) and ``meta`` with ``fold``,
    ``base_class_names``, ``dataset_meta``, ``epoch``, ``iter`` and ``weights`` (``'best'`` or
    ``'last'``). It has no optimiser state and is safe to load with ``weights_only=True``.

    Args:
        filename (str): Name of the file in the work dir.
        use_best (bool): Prefer the best checkpoint over the last weights.
    """

    priority = 'LOWEST'  # after the checkpoint hook
    kept_prefixes = KEPT_PREFIXES
    purpose = 'The base learner for stage 2'

    def __init__(self, filename: str = 'base_learner.pth', use_best: bool = True) -> None:
        self.filename = filename
        self.use_best = use_best

    def after_train(self, runner) -> None:
        """Write the file on the main process; the others wait until it is there.

        Raises:
            OSError: When it cannot be written (see :func:`mmfss.utils.files.atomic_write`).
            StopError: When weights are not finite; nothing is written then.
        """
        if is_main_process():
            self._write(runner)
        barrier()

    def _write(self, runner) -> None:
        best = self._best_checkpoint(runner) if self.use_best else None
        if best is not None:
            try:
                state = model_state(read_checkpoint(best))
            except CheckpointFileError as error:
                runner.logger.warning(f'{error}. The last weights are used instead.')
                best = None
        if best is None:
            model = bare_model(runner.model)
            state = weights_to_cpu(model.state_dict())
        if names := not_finite(state):  # of a model that something else than the training has changed
            raise StopError(
                f'{self.filename} was not written: weights are not finite (NaN or infinity): {some(names)}. '
                f'The last checkpoint in {runner.work_dir} was written before that.'
            )
        dataset_meta = plain_values(dict(getattr(runner.train_dataloader.dataset, 'metainfo', {})))
        names = base_class_names(dataset_meta) or tuple(dataset_meta.get('classes', ()))[1:]
        path = Path(runner.work_dir) / self.filename
        atomic_torch_save(
            dict(
                state_dict={k: v for k, v in state.items() if k.startswith(self.kept_prefixes)},
                meta=dict(
                    dataset_meta=dataset_meta,
                    fold=dataset_meta.get('fold'),
                    base_class_names=names,
                    epoch=runner.epoch,
                    iter=runner.iter,
                    weights='last' if best is None else 'best',
                ),
            ),
            path,
            RESUME,
        )
        source = 'the last weights' if best is None else best
        runner.logger.info(f'{self.purpose} is {path} (from {source}).')

    @staticmethod
    def _best_checkpoint(runner) -> Path | None:
        """The best checkpoint so far, also when the work dir was moved since."""
        named = runner.message_hub.get_info('best_ckpt')
        if named is None:
            return None
        for path in (Path(named), Path(runner.work_dir) / Path(named).name):
            if path.is_file():
                return path
        runner.logger.warning(f'The best checkpoint {named} is gone: the last weights are used.')
        return None


@HOOKS.register_module()
class MetaLearnerCheckpointHook(BaseLearnerCheckpointHook):
    """Writes ``<work_dir>/meta_learner.pth`` when stage 2 ends: all weights, under a fixed name.

    A config that goes on from another one's result (more shots, other data) can name the file.

    Args:
        filename (str): Name of the file in the work dir.
        use_best (bool): Prefer the best checkpoint over the last weights.
    """

    kept_prefixes = ('',)
    purpose = 'The meta learner'

    def __init__(self, filename: str = 'meta_learner.pth', use_best: bool = True) -> None:
        super().__init__(filename, use_best)
