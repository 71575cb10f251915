# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Checkpoints that a full disk cannot take away."""

from collections import OrderedDict
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from mmfss.registry import HOOKS
from mmfss.utils.checkpoint_meta import plain_values
from mmfss.utils.files import atomic_write, remove_leftovers

_VALIDATED = 'validated_iter'  # in the message hub: iterations done before the last validation


class _PatientBackend:
    """A file backend that remembers what it is asked to remove until :meth:`settle`.

    MMEngine removes the outdated checkpoint *before* it writes the new one. With this in between,
    the old one goes only when the new one is complete.
    """

    def __init__(self, backend) -> None:
        self._backend = backend
        self._files: list[str] = []
        self._folders: list[str] = []

    def __getattr__(self, name: str):
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._files.append(path)

    def rmtree(self, path: str) -> None:
        self._folders.append(path)

    def settle(self, keep: set[str]) -> None:
        """Remove what was asked for, except ``keep`` (a path may have been written anew)."""
        for path in self._files:
            if path not in keep and self._backend.isfile(path):
                self._backend.remove(path)
        for path in self._folders:
            if path not in keep and self._backend.isdir(path):
                self._backend.rmtree(path)
        self.forget()

    def forget(self) -> None:
        """Drop the requests: the save failed, so the old files are still needed."""
        self._files.clear()
        self._folders.clear()


def _unvalidated(runner) -> bool:
    """Whether a run goes on from a checkpoint after which a validation is due that it does not know of."""
    loop = runner.train_loop
    if runner.iter == 0 or runner.val_loop is None or runner.message_hub.get_info(_VALIDATED) == runner.iter:
        return False
    if isinstance(loop, EpochBasedTrainLoop):
        done, last = loop.epoch, loop.max_epochs
    elif isinstance(loop, IterBasedTrainLoop):
        done, last = loop.iter, loop.max_iters
    else:
        return False
    loop._decide_current_val_interval()
    return done >= loop.val_begin and (done % loop.val_interval == 0 or done == last)


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook``, made safe against full disks and kills.

    Each file is written whole or not at all (:mod:`mmfss.utils.files`), and an outdated or
    formerly best checkpoint is removed only after its successor is on disk. When a save fails the
    run stops with an error that names the path and the free space, and ``--resume`` goes on from
    the last complete checkpoint.

    MMEngine saves an epoch's checkpoint before it validates the epoch. A run that was stopped in between would never
    measure that epoch, and might take another one for the best; here it is measured when the run goes on.

    Args:
        **kwargs: Those of :class:`mmengine.hooks.CheckpointHook`. ``backend_args`` defaults to the
            atomic local backend.
    """

    def __init__(self, **kwargs) -> None:
        if kwargs.get('backend_args') is None and kwargs.get('file_client_args') is None:
            kwargs['backend_args'] = dict(backend='mmfss.atomic')
        super().__init__(**kwargs)

    def before_train(self, runner) -> None:
        """Prepare the folder, then put the patient backend in front of the real one."""
        super().before_train(runner)
        self.file_backend = _PatientBackend(self.file_backend)
        if is_main_process():
            remove_leftovers(Path(runner.work_dir))  # of a run that was killed while saving
        if _unvalidated(runner):
            runner.logger.info(f'The validation after iteration {runner.iter} was not finished: it is run now.')
            self.last_ckpt = runner._load_from  # saved again with the new best score, as it would have been
            runner.val_loop.run()

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        """As MMEngine's; the checkpoint that is saved with a new best score knows that it was validated."""
        runner.message_hub.update_info(_VALIDATED, runner.iter)
        super().after_val_epoch(runner, metrics)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Keep plain values only beside the weights: a data set may describe itself with objects of its own."""
        checkpoint['meta'] = plain_values(checkpoint['meta'])
        hub = checkpoint['message_hub']
        hub['runtime_info'] = OrderedDict(plain_values(hub['runtime_info']))

    def _save_checkpoint(self, runner) -> None:
        with _Settling(self, runner):
            super()._save_checkpoint(runner)

    def _save_best_checkpoint(self, runner, metrics) -> None:
        for key in self.save_best or ():
            if key != 'auto' and key not in metrics:
                raise KeyError(
                    f'save_best={key!r} of the checkpoint hook is not among the metrics '
                    f'{sorted(metrics)}. Set default_hooks.checkpoint.save_best to one of them.'
                )
        # mmseg's metrics are NumPy scalars; the best score is kept in the checkpoint, which could
        # then no longer be loaded with weights_only=True.
        plain = {k: v.item() if hasattr(v, 'item') else v for k, v in metrics.items()}
        with _Settling(self, runner):
            super()._save_best_checkpoint(runner, plain)


class _Settling:
    """Around one save: removals on success; on failure the pointer to the last good file."""

    def __init__(self, hook: SafeCheckpointHook, runner) -> None:
        self.backend = hook.file_backend
        self.hook = hook
        self.pointer = Path(runner.work_dir) / 'last_checkpoint'

    def __enter__(self) -> None:
        self.before = self.pointer.read_text() if self.pointer.is_file() else None

    def __exit__(self, kind, error, trace) -> None:
        if kind is None:
            best = getattr(self.hook, 'best_ckpt_path', None)
            every_best = getattr(self.hook, 'best_ckpt_path_dict', {}).values()
            keep = {self.hook.last_ckpt, best, *every_best}
            if is_main_process():
                self.backend.settle(keep)
            return
        self.backend.forget()
        # MMEngine writes this little file in place, so a full disk may just have emptied it.
        if self.before and is_main_process() and self.pointer.read_text() != self.before:
            try:
                atomic_write(self.before.encode(), self.pointer)
            except OSError:
                pass  # --resume then finds the newest checkpoint by its name
