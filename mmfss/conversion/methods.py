# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The released methods that can be converted: what each module of this package says about its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from .names import ConversionError, Rules, strip_parallel_prefix
from .reference_outputs import own_training, scores_and_guidance

if TYPE_CHECKING:
    from .parity import Case
    from .variant import Variant

State = Mapping[str, Tensor]


def episodes_config(variant: Variant) -> str:
    """The config of a few-shot method: ``configs/<method>/<backbone>_<data set>_<1 or 5>shot.py``."""
    shots = 1 if variant.shots == 1 else 5
    return f'configs/{variant.method}/{variant.backbone}_{variant.dataset}_{shots}shot.py'


def base_config(variant: Variant) -> str:
    """The config of a base learner: ``configs/<method>/<backbone>_<data set>.py``."""
    return f'configs/{variant.method}/{variant.backbone}_{variant.dataset}.py'


def no_options(variant: Variant) -> dict[str, Any]:
    """Nothing needs to be added to the config."""
    return {}


@dataclass(frozen=True)
class ReleasedMethod:
    """How the checkpoints of one method become ours.

    Attributes:
        name (str): Folder of its configs, such as 'msanet'.
        title (str): For messages, with the repository that released them.
        recognises (Callable): Released state dict -> whether it is of this method, by keys and shapes; of all
            methods at most one says yes.
        convert (Callable): (released state dict, data set or None) -> (Variant, state dict under the names used here).
            The data set is required where the weights do not show it, and else compared. Raises ConversionError.
        config (Callable): Variant -> the config that the weights belong to, relative to the repository.
        cfg_options (Callable): Variant -> what that config needs in addition, as ``--cfg-options`` takes it.
        rules (Rules): Renaming of the keys of its own parts, without the backbone's.
        outputs (Callable): (model in eval mode, reference case) -> what its authors' code gives, by the names of the
            case (:mod:`mmfss.conversion.parity`). Defaults to scores, guidance and auxiliary maps.
        prepare (Callable, optional): (model, reference case) -> nothing; sets what the case prescribes beside the
            episode, such as recorded random draws, before anything is computed.
        settings (Sequence[str]): Names in a case that are inputs beside the episode and not outputs.
        losses (Mapping[str, str]): Released name of a loss -> name here.
        training (Callable, optional): (model, reference case) -> losses of a training step with BatchNorm in eval mode
            and no dropout, and the parameters by the names of the converted weights, learned or not. Defaults to the
            model's own; a method that trains another model than it tests, such as stage 1 alone, gives those here.
        training_outputs (Callable, optional): (model, reference case) -> further outputs of a training step.
        tolerances (Mapping[str, float]): Agreement asked for: 'output' relative to the standard deviation, 'loss' and
            'gradient' relative to their size; 'output/prior' and the like for single ones.
        base_learner (bool): Whether it is stage 1, which knows base classes and no episodes. Defaults to False.
    """

    name: str
    title: str
    recognises: Callable[[State], bool]
    convert: Callable[[State, str | None], tuple[Variant, dict[str, Tensor]]]
    config: Callable[[Variant], str] = episodes_config
    cfg_options: Callable[[Variant], dict[str, Any]] = no_options
    rules: Rules = ()
    outputs: Callable[[nn.Module, Case], dict[str, Tensor]] = scores_and_guidance
    prepare: Callable[[nn.Module, Case], None] | None = None
    settings: Sequence[str] = ()
    losses: Mapping[str, str] = field(default_factory=lambda: dict(loss='loss_final'))
    training: Callable[[nn.Module, Case], tuple[dict[str, Tensor], dict[str, nn.Parameter]]] = own_training
    training_outputs: Callable[[nn.Module, Case], dict[str, Tensor]] | None = None
    tolerances: Mapping[str, float] = field(default_factory=lambda: dict(output=1e-4, loss=1e-5, gradient=1e-4))
    base_learner: bool = False

    def tolerance(self, name: str) -> float:
        """Agreement asked for of one value, such as 'output/prior' or 'loss/loss'."""
        return self.tolerances.get(name, self.tolerances[name.split('/')[0]])


METHODS: dict[str, ReleasedMethod] = {}


def register(method: ReleasedMethod) -> ReleasedMethod:
    """Make a method known, under its name.

    Args:
        method (ReleasedMethod): Of the module that calls this.

    Returns:
        ReleasedMethod: The same.

    Raises:
        ValueError: When another method has the name.
    """
    if METHODS.setdefault(method.name, method) is not method:
        raise ValueError(f"there is a released method '{method.name}' already: {METHODS[method.name].title}")
    return method


def recognise(state: State) -> ReleasedMethod:
    """The method that released weights are of.

    Args:
        state (Mapping[str, Tensor]): The released state dict.

    Raises:
        ConversionError: When they are of none that is known.
    """
    state = strip_parallel_prefix(state)
    found = [method for method in METHODS.values() if method.recognises(state)]
    if len(found) == 1:
        return found[0]
    known = ', '.join(method.title for method in found or METHODS.values())
    raise ConversionError(f'may be of several methods: {known}' if found else f'is of no known method ({known})')
