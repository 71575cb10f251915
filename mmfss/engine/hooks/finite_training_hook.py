# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Ends a training that has gone wrong, and says where."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmfss.registry import HOOKS
from mmfss.utils.checkpoint_files import not_finite, some
from mmfss.utils.files import atomic_write_json
from mmfss.utils.plain_errors import StopError
from mmfss.utils.weights import bare_model

# A scaler halves its factor at every step that it skips; from 2**16 it comes down here after 36 of them in a row.
SMALLEST_SCALE = 1e-6
_META = ('run', 'episode', 'class_id', 'class_name', 'name', 'img_path')


@HOOKS.register_module()
class FiniteTrainingHook(Hook):
    """Stops at the first loss or gradient that is NaN or infinite, before anything of it is saved or published.

    After every step it looks at the losses and at the largest weight: a gradient that is not finite leaves weights that
    are not. (A step that a loss scaler skips because of its gradients leaves none, and is normal.) All processes stop
    together. ``<work_dir>/non_finite.json`` then holds the iteration, the learning rates, the losses, the names of the
    weights and the episodes of the batch, and the message says the most of it. Checkpoints saved before stay.

    The check reads every weight that a step may change once.

    Args:
        filename (str): Name of that file.
    """

    priority = 'HIGH'  # before anything is logged, validated or saved

    def __init__(self, filename: str = 'non_finite.json') -> None:
        self.filename = filename
        self._watched: list[Tensor] = []

    def before_train(self, runner) -> None:
        """Note what a step may change, and look at all weights once.

        Raises:
            StopError: When the training would start from weights that are not finite.
        """
        model = bare_model(runner.model)
        if names := not_finite(model.state_dict()):
            raise StopError(f'the training cannot start: weights are not finite (NaN or infinity): {some(names)}')
        self._watched = _changing(model)

    def after_train_iter(
        self, runner, batch_idx: int, data_batch: Any = None, outputs: Mapping[str, Any] | None = None
    ) -> None:
        """Look at the losses and the weights of one step.

        Raises:
            StopError: When one is not finite.
        """
        losses = {name: _number(value) for name, value in (outputs or {}).items() if _is_loss(name, value)}
        bad = not all(map(math.isfinite, losses.values())) or not self._weights_are_finite() or _scale_is_gone(runner)
        if get_world_size() > 1:
            flag = torch.tensor([float(bad)], device=self._watched[0].device if self._watched else 'cpu')
            all_reduce(flag, 'max')
            bad = bool(flag.item())
        if bad:
            self._stop(runner, data_batch, losses)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Refuse to save weights that something else than a step has spoilt.

        Raises:
            StopError: When there are any; names them.
        """
        if names := not_finite(checkpoint.get('state_dict', {})):
            raise StopError(
                f'no checkpoint was saved: weights are not finite (NaN or infinity): {some(names)}. '
                f'Earlier checkpoints in {runner.work_dir} are untouched'
            )

    def _weights_are_finite(self) -> bool:
        """Whether the largest absolute value of all weights is a number; one exchange with the device."""
        if not self._watched:
            return True
        with torch.no_grad():
            return bool(torch.stack([n.float() for n in _largest(self._watched)]).isfinite().all())

    def _stop(self, runner, data_batch: Any, losses: dict[str, float]) -> None:
        own = dict(losses={k: _plain(v) for k, v in losses.items()}, episodes=list(_episodes(data_batch)))
        every = all_gather_object(own)
        names = not_finite(bare_model(runner.model).state_dict())
        rates = {k: [float(lr) for lr in v] for k, v in runner.optim_wrapper.get_lr().items()}
        wrong = {k: v for of_rank in every for k, v in of_rank['losses'].items() if isinstance(v, str)}
        last = runner.message_hub.get_info('last_ckpt')
        facts = dict(
            iteration=runner.iter + 1,
            epoch=runner.epoch + 1,
            learning_rate=rates,
            weights_not_finite=len(names),
            first_of_them=names[:20],
            processes=every,
            last_checkpoint=None if last is None else str(last),
        )
        path = Path(runner.work_dir) / self.filename
        if is_main_process():
            atomic_write_json(facts, path)
        if wrong:
            what = 'the loss is not finite (' + ', '.join(f'{k} = {v}' for k, v in wrong.items()) + ')'
        elif names:
            what = f'a gradient was not finite; these weights are not any more: {some(names)}'
        else:
            what = 'gradients were not finite for so many steps in a row that the loss scale is gone'
        kept = f'The last finite checkpoint is {last}' if last else 'No checkpoint had been saved yet'
        shown = ', '.join(f'{rate:g}' for rate in dict.fromkeys(r for group in rates.values() for r in group))
        raise StopError(
            f'training stopped at iteration {runner.iter + 1} (epoch {runner.epoch + 1}), learning rate {shown}: '
            f'{what}. The episodes of the batch are in {path}. {kept}; nothing was published. Lower the learning rate '
            '(optim_wrapper.optimizer.lr) or clip gradients (optim_wrapper.clip_grad.max_norm)'
        )


def _changing(model: nn.Module) -> list[Tensor]:
    """What a step may change: learned weights, and the statistics of layers that are not in eval mode."""
    learned = [p for p in model.parameters() if p.requires_grad and p.is_floating_point() and p.numel()]
    return learned + [b for b in model.buffers() if b.is_floating_point() and b.numel() and b.layout == torch.strided]


def _largest(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Largest absolute value of each; NaN where there is one. Device and type are alike within a call to torch."""
    groups: dict[tuple, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.device, tensor.dtype), []).append(tensor.detach())
    device = tensors[0].device
    return [n.to(device) for group in groups.values() for n in torch._foreach_norm(group, math.inf)]


def _is_loss(name: str, value: Any) -> bool:
    return 'loss' in name and (isinstance(value, (int, float)) or (isinstance(value, Tensor) and value.numel() == 1))


def _number(value: Any) -> float:
    return float(value.detach() if isinstance(value, Tensor) else value)


def _scale_is_gone(runner) -> bool:
    scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
    return scaler is not None and hasattr(scaler, 'get_scale') and scaler.get_scale() < SMALLEST_SCALE


def _plain(value: float) -> float | str:
    """JSON knows no NaN."""
    return value if math.isfinite(value) else str(value)


def _episodes(data_batch: Any) -> Iterator[dict]:
    """Names of what is in a batch: of stage 1 the images, of stage 2 each query with its supports."""
    samples = data_batch.get('data_samples') if isinstance(data_batch, Mapping) else None
    if isinstance(samples, Mapping):
        supports = samples.get('support') or []  # [K][B]
        for place, query in enumerate(samples.get('query') or []):
            yield dict(_facts(query), supports=[_facts(shot[place]) for shot in supports])
    elif isinstance(samples, Sequence):
        yield from (_facts(sample) for sample in samples)


def _facts(sample: Any) -> dict:
    found = {key: sample.get(key) for key in _META} if isinstance(sample, BaseDataElement) else {}
    return {
        k: v if isinstance(v, (int, float, str)) else getattr(v, 'item', lambda v=v: str(v))()
        for k, v in found.items()
        if v is not None
    }
