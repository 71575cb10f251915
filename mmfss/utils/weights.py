# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The one place that opens a checkpoint file, and the one that says whether its weights fit a model."""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence

import torch
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from .checkpoint_files import are_trusted, fetch, is_address, read_file, some

_held: dict[tuple, Mapping] = {}  # at most one checkpoint, between the check of it and its use


class MisfitError(ValueError):
    """Weights that are not those of a model; the message names keys and shapes."""


def is_missing(path: str | os.PathLike) -> bool:
    """Whether a path names something local that is not there; nothing is known about addresses."""
    return not is_address(path) and not os.path.exists(os.path.expanduser(path))


def read_checkpoint(path: str | os.PathLike, *, trust: bool | None = None, hold: bool = False) -> Mapping:
    """The content of a checkpoint, on CPU: every read of mmfss goes through here.

    Args:
        path (str | PathLike): A file, or an address that mmengine knows.
        trust (bool, optional): Read a file with Python objects as well, which can run code. Defaults to what the user
            said for all files (``--trust-checkpoint``).
        hold (bool): Keep the content for the next read of the unchanged file in this process, which then does without
            reading. For a check that comes before the use. Defaults to False: what was kept is handed out and dropped.

    Returns:
        Mapping: As it was saved, a state dict or a dict with ``state_dict`` and ``meta``.

    Raises:
        FileNotFoundError: When there is no such file.
        CheckpointFileError: When it is something else, cut off, not trusted, or its weights are not finite; see
            :func:`mmfss.utils.checkpoint_files.read_file`.
    """
    path = fetch(str(path)) if is_address(path) else os.path.expanduser(str(path))
    trust = are_trusted() if trust is None else trust
    key = _identity(path, trust)
    content = _held.pop(key, None)
    if content is None:
        content = read_file(path, 'cpu', trust)
    if hold and key is not None:
        _held.clear()
        _held[key] = content
    return content


def _identity(path: str, trust: bool) -> tuple | None:
    """What was read with trust is not handed to a reader without."""
    if not os.path.isfile(path):
        return None
    status = os.stat(path)
    return os.path.abspath(path), status.st_mtime_ns, status.st_size, trust


def model_state(checkpoint: Mapping) -> dict[str, Tensor]:
    """The weights of a checkpoint, bare or under ``state_dict``, without a data-parallel prefix ``module.``."""
    state = checkpoint.get('state_dict', checkpoint)
    return {re.sub(r'^module\.', '', key): value for key, value in state.items()}


def bare_model(model: nn.Module) -> nn.Module:
    """The model behind a data-parallel wrapper, or the model itself."""
    return model.module if is_model_wrapper(model) else model


def add_weights(digest: 'hashlib._Hash', model: nn.Module) -> None:
    """Let every parameter and buffer of a model, by name, shape, type and content, enter a digest."""
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f'{name} {tuple(tensor.shape)} {tensor.dtype}'.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())


def weight_differences(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], ignore: Sequence[str] = ()
) -> list[str]:
    """Do weights fit a model? Compares names and shapes.

    Args:
        expected (Mapping[str, Tensor]): The model's own weights.
        found (Mapping[str, Tensor]): The checkpoint's weights.
        ignore (Sequence[str]): Regular expressions (``re.match``) of names left out.

    Returns:
        list[str]: One line a difference, headed by what it most likely means; empty when they fit.
    """

    def compared(state: Mapping) -> dict[str, Tensor]:
        return {k: v for k, v in state.items() if hasattr(v, 'shape') and not any(re.match(p, k) for p in ignore)}

    ours, theirs = compared(expected), compared(found)
    missing = [key for key in ours if key not in theirs]
    unexpected = [key for key in theirs if key not in ours]
    shapes = [key for key in ours if key in theirs and ours[key].shape != theirs[key].shape]
    lines = []
    if any(key.startswith('backbone.') for key in (*missing, *unexpected, *shapes)):
        lines.append('it has another backbone')
    # A classifier of another size differs in its number of outputs and in nothing else.
    if any(_is_classifier(key) and ours[key].shape[1:] == theirs[key].shape[1:] for key in shapes):
        lines.append('it has another number of classes')
    described = [f'{key} {tuple(theirs[key].shape)} instead of {tuple(ours[key].shape)}' for key in shapes]
    kinds = (('missing', missing), ('unexpected', unexpected), ('of another shape', described))
    return lines + [f'weights {kind}: {some(keys)}' for kind, keys in kinds if keys]


def _is_classifier(key: str) -> bool:
    return re.search(r'(conv_seg|cls_seg|classifier|fc)\.(weight|bias)$', key) is not None


def refusal(what: str, reasons: Sequence[str], cure: str = '') -> str:
    """The message of every refused checkpoint: what does not fit, why, and what to do.

    Args:
        what (str): Such as 'a.pth does not fit the model of this config'.
        reasons (Sequence[str]): One line each, of :func:`weight_differences` and its like.
        cure (str): What the user can do.
    """
    return '\n  - '.join([f'{what}:', *reasons]) + (f'\n{cure}' if cure else '')


def load_weights(model: nn.Module, state: Mapping[str, Tensor], what: str, cure: str = '') -> None:
    """Load weights into a model, every one that it takes (:func:`taken_weights`).

    Args:
        model (nn.Module): Takes them.
        state (Mapping[str, Tensor]): The weights, of :func:`model_state`.
        what (str): Head of the message when they do not fit, see :func:`refusal`.
        cure (str): Its last line.

    Raises:
        MisfitError: When weights are missing, left over or of another shape.
    """
    own, taken = model.state_dict(), taken_weights(model, state)
    if reasons := weight_differences(taken_weights(model, own), taken):
        raise MisfitError(refusal(what, reasons, cure))
    model.load_state_dict({**own, **taken})


def load_base_learner(model: nn.Module, path: str) -> None:
    """Load backbone (and base head, where the model or its neck has one) from a stage-1 checkpoint, strictly.

    Args:
        model (nn.Module): With ``backbone`` and perhaps ``base_head`` or ``neck.base_head``.
        path (str): Checkpoint of an mmseg EncoderDecoder: keys ``backbone.*`` and ``decode_head.*``.

    Raises:
        FileNotFoundError: When there is no such file.
        MisfitError: When its keys or shapes do not fit, naming them.
    """
    if is_missing(path):
        raise FileNotFoundError(
            f"base learner checkpoint '{path}' does not exist. tools/train.py trains it when the "
            "config's base_learner.config names stage 1; or set model.base_checkpoint"
        )
    targets = {'backbone.': model.backbone}
    for owner in (model, getattr(model, 'neck', None)):
        if hasattr(owner, 'base_head'):
            targets['decode_head.'] = owner.base_head
    state = {key: value for key, value in model_state(read_checkpoint(path)).items() if key.startswith(tuple(targets))}
    expected = {prefix + key: value for prefix, part in targets.items() for key, value in part.state_dict().items()}
    if reasons := weight_differences(expected, state):
        raise MisfitError(
            refusal(
                f"base learner checkpoint '{path}' does not fit the model of this config",
                reasons,
                'Remove or rename the file to train a new one, or give the config that it belongs to.',
            )
        )
    for prefix, part in targets.items():
        part.load_state_dict({k[len(prefix) :]: value for k, value in state.items() if k.startswith(prefix)})
    print_log(f'base learner: loaded {", ".join(p + "*" for p in targets)} from {path}', logger='current')


def check_pretrained(backbone: nn.Module, path: str, prefix: str | None = None) -> None:
    """Refuse pre-trained weights that are missing or would leave a part of the backbone as it was.

    Args:
        backbone (nn.Module): To be initialised.
        path (str): ``init_cfg.checkpoint``, a file or an address.
        prefix (str, optional): Of the backbone's keys in it.

    Raises:
        FileNotFoundError: When there is no such file.
        MisfitError: When keys are missing or of another shape.
    """
    if is_missing(path):
        raise FileNotFoundError(
            f"pre-trained weights '{path}' do not exist; tools/model_converters/ makes such files, "
            'docs/pretrained.md says how'
        )
    state = model_state(read_checkpoint(path))
    if prefix:
        state = {k[len(prefix) + 1 :]: v for k, v in state.items() if k.startswith(prefix + '.')}
    expected = {k: v for k, v in backbone.state_dict().items() if not k.endswith('num_batches_tracked')}
    # A classifier of ImageNet may be left over.
    if reasons := weight_differences(expected, {k: v for k, v in state.items() if k in expected}):
        raise MisfitError(refusal(f"pre-trained weights '{path}' are not of {type(backbone).__name__}", reasons))


def taken_weights(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part of a checkpoint's weights that a model takes.

    All of them; of a few-shot segmentor that learns nothing those of backbone and neck, so that any checkpoint with its
    backbone will do: a base learner's, or that of a method that was trained on it. A neck that is the head of a base
    learner takes the base learner's head in either.

    Args:
        model (nn.Module): As it was built: whether it learns shows in which of its weights take gradients.
        state (Mapping[str, Tensor]): The weights, of :func:`model_state`.
    """
    if getattr(model, 'learned', True):
        return dict(state)
    taken = {key: value for key, value in state.items() if key.startswith(('backbone.', 'neck.'))}
    return taken | base_head_as_neck(state) if hasattr(getattr(model, 'neck', None), 'base_head') else taken


def base_head_as_neck(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A base learner's head in a checkpoint, under the names of a neck made of it; nothing where it has these already.

    Args:
        state (Mapping[str, Tensor]): Weights of a base learner, or of a method that was trained with one.
    """
    if any(key.startswith('neck.') for key in state):
        return {}
    # A method's checkpoint has its own head as decode_head, a base learner's nothing else.
    for prefix in ('base_head.', 'decode_head.'):
        found = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if found:
            return {f'neck.base_head.{key}': value for key, value in found.items()}
    return {}


def is_pretrained(module: nn.Module) -> bool:
    """Whether ``init_weights`` of a module loads weights from a file, or its constructor has done so (timm)."""

    def names_a_file(part: nn.Module) -> bool:
        return any(cfg.get('type') == 'Pretrained' for cfg in _init_cfgs(part)) or getattr(part, 'is_init', False)

    return any(names_a_file(part) for part in module.modules())


def _init_cfgs(module: nn.Module) -> Sequence[Mapping]:
    init_cfg = getattr(module, 'init_cfg', None) or []
    return [init_cfg] if isinstance(init_cfg, Mapping) else init_cfg


def check_init_cfg(backbone: nn.Module) -> None:
    """Check the pre-trained weights that ``init_weights`` of a backbone is about to load.

    mmengine loads them with strict=False, where a wrong prefix is only a line in the log and the backbone stays random.

    Args:
        backbone (nn.Module): Whose ``init_cfg`` may name a file (``type='Pretrained'``), alone or in a list.

    Raises:
        FileNotFoundError: When the file is missing.
        MisfitError: When weights of the backbone are missing in it or of another shape.
    """
    for cfg in _init_cfgs(backbone):
        if cfg.get('type') == 'Pretrained':
            check_pretrained(backbone, cfg['checkpoint'], cfg.get('prefix'))
