# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""``--cfg-options``: each key must be a field that something reads, or the misspelt one would silently do nothing.

A key is taken when the config has it, or when what reads that place can take it: the constructor of a component (a dict
with ``type``), the data loader, the loops, the runner. ``+key=value`` adds a field that nobody here knows of.
"""

import argparse
import copy
import difflib
import inspect
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner, TestLoop, ValLoop
from torch.utils.data import DataLoader

from mmfss import registry

from .feature_store_options import StoreOptions

FORCE = '+'
_NEAR = 0.75  # similarity from which an unknown argument of an open constructor is a misspelt one


class OptionsAction(DictAction):
    """mmengine's action, which says in one line what is wrong with a text that is no ``KEY=VALUE``."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        for text in values or ():
            if not text.split('=', 1)[0].strip(f'{FORCE} ') or '=' not in text:
                parser.error(f'{option_string}: {text!r} is not of the form KEY=VALUE')
        try:
            super().__call__(parser, namespace, values, option_string)
        except (AssertionError, ValueError) as error:
            parser.error(f'{option_string}: {error}')


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options KEY=VALUE ...``; :func:`merge_options` reads it."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        metavar='KEY=VALUE',
        help='override fields of the config, such as train_cfg.max_epochs=2 key="[a,b]"; unknown fields are refused, '
        '+KEY=VALUE adds one all the same',
    )


def parse_options(texts: Sequence[str], parser: argparse.ArgumentParser) -> dict[str, Any]:
    """``KEY=VALUE`` texts that a tool hands on, as the tools that get them will read them.

    Args:
        texts (Sequence[str]): The texts.
        parser (ArgumentParser): Complains about what is none.
    """
    found = argparse.Namespace(cfg_options=None)
    OptionsAction(['--cfg-options'], 'cfg_options')(parser, found, list(texts), '--cfg-options')
    return found.cfg_options or {}


def merge_options(cfg: Config, options: Mapping[str, Any]) -> dict[str, Any]:
    """Merge options into a config after checking every key.

    Args:
        cfg (Config): The config; changed in place.
        options (Mapping[str, Any]): Dotted key -> value; a key that begins with ``+`` is not checked.

    Returns:
        dict[str, Any]: The options without ``+``.

    Raises:
        ValueError: When nothing reads a key; the message has the near names and what to write to add it all the same.
    """
    plain = {key.removeprefix(FORCE): value for key, value in options.items()}
    before = copy.deepcopy(cfg.to_dict())
    try:
        cfg.merge_from_dict(copy.deepcopy(plain))
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        words = str(error.args[0] if error.args else error).split(' in child config')[0][:150]
        raise ValueError(f'--cfg-options {" ".join(map(str, plain))}: the config cannot take them ({words})') from error
    after = cfg.to_dict()
    for key, value in plain.items():
        if FORCE + key not in options:
            for path in _leaves(key.split('.'), value):
                _check(before, after, path)
    return plain


def refuse_late(options: Mapping[str, Any]) -> None:
    """Refuse fields that others are computed from and that have an option of their own.

    Raises:
        ValueError: When one is wrong; names the option.
    """
    for field in _LATE:
        if field in options:
            flag = '--' + field.replace('_', '-')
            raise ValueError(
                f'--cfg-options {field}=... comes too late, other fields are computed '
                f'from it: use {flag} {options[field]}'
            )


def _leaves(path: list[str], value: Any) -> list[list[str]]:
    """Paths of an option: of a dict those of its fields."""
    if not isinstance(value, Mapping) or not value or '_delete_' in value:
        return [path]
    return [leaf for key, field in value.items() for leaf in _leaves([*path, str(key)], field)]


def _check(before: Any, after: Any, path: list[str]) -> None:
    """Walk down one path, through the config as it was and as it is with all options."""
    for depth, name in enumerate(path):
        if isinstance(after, (list, tuple)):
            index = int(name) if name.isdigit() else -1
            if not 0 <= index < len(after):
                _refuse(path, depth, [str(i) for i in range(len(after))])
            before = before[index] if isinstance(before, (list, tuple)) and index < len(before) else None
            after = after[index]
            continue
        if not isinstance(after, Mapping):
            return
        had = before if isinstance(before, Mapping) else {}
        if depth == 0:
            _check_first(had, path)
        elif name not in had:
            taken, names = _takes(had, after, path[:depth], name)
            if not taken:
                _refuse(path, depth, [*had, *names])
        if path[:depth] == ['base_learner'] and name == 'cfg_options':
            return  # of stage 1, whose config checks them
        before, after = had.get(name), after.get(name)


def _check_first(had: Mapping, path: list[str]) -> None:
    """The first part of a key: fields of the runner, and the few that our tools read."""
    if path[0] in _TOP:
        return
    if path[0] in had:
        raise ValueError(
            f'--cfg-options {".".join(path)}=... has no effect: the field {path[0]} is only there for others to be '
            'computed from while the config is read. Set those, or write a config that inherits from this one and '
            f'changes {path[0]}. (To set it all the same: {FORCE}{".".join(path)}=...)'
        )
    _refuse(path, 0, [*_TOP, *had])


def _refuse(path: list[str], depth: int, names: Collection[str]) -> None:
    key, where = '.'.join(path), '.'.join(path[:depth])
    near = difflib.get_close_matches(path[depth], list(dict.fromkeys(map(str, names))), 3, 0.6)
    raise ValueError(
        f'--cfg-options {key}=...: {where or "the config"} has no field {path[depth]!r}. '
        f'Near are: {", ".join(near) or "none"}. To add it all the same: {FORCE}{key}=...'
    )


def _takes(had: Mapping, after: Mapping, place: list[str], name: str) -> tuple[bool, Collection[str]]:
    """Whether what reads a dict can take one more field, and the names it takes."""
    if name in ('type', '_delete_', '_scope_'):
        return True, ()
    if after.get('type') is not None:
        names, is_open = _arguments(after['type'])
        misspelt = difflib.get_close_matches(name, [*names, *had], 1, _NEAR)
        return name in names or (is_open and not misspelt), names
    if (fields := _FIELDS.get(place[-1])) is not None:
        return name in fields, fields
    if not had:
        return True, ()
    if all(value is None or (isinstance(value, Mapping) and 'type' in value) for value in had.values()):
        # hooks, comparison heads: names are free, but a new one needs to say what it is
        return isinstance(after[name], Mapping) and 'type' in after[name], ()
    return False, ()


def _arguments(kind: Any) -> tuple[set[str], bool]:
    """Arguments of a registered class, and whether it may take others than these."""
    classes = [kind] if callable(kind) else _registered(str(kind))
    if not classes:
        return set(), True
    found = [_signature(cls) for cls in classes]
    return set().union(*(names for names, _ in found), _BESIDE), any(is_open for _, is_open in found)


def _registered(name: str) -> list:
    classes = []
    for registry_name in registry.__all__:
        try:
            found = getattr(registry, registry_name).get(name)
        except (ImportError, KeyError, AttributeError):  # of a package that is not installed
            continue
        if found is not None and found not in classes:
            classes.append(found)
    return classes


def _signature(cls: Any) -> tuple[set[str], bool]:
    """Follows ``**kwargs`` to the constructors of the base classes; open where they also go elsewhere."""
    names: set[str] = set()
    is_open = False
    inits = [c.__dict__['__init__'] for c in inspect.getmro(cls) if '__init__' in c.__dict__ and c is not object]
    for init in inits if inspect.isclass(cls) else [cls]:
        try:
            parameters = inspect.signature(init).parameters.values()
        except (TypeError, ValueError):
            return names, True
        names.update(p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
        rest = next((p.name for p in parameters if p.kind == p.VAR_KEYWORD), None)
        if rest is None:
            return names - {'self'}, is_open
        is_open = is_open or not _only_for_super(init, rest)
    return names - {'self'}, True


def _only_for_super(init: Any, rest: str) -> bool:
    """Whether ``**kwargs`` of a constructor are handed to ``super().__init__`` and to nothing else."""
    try:
        source = inspect.getsource(init)
    except (OSError, TypeError):
        return False
    uses = len(re.findall(rf'\b{rest}\b', re.sub(r'"""(?s:.*?)"""|#.*', '', source)))
    return uses == 2 and re.search(rf'super\([^)]*\)\.__init__\([^#]*?\*\*{rest}', source) is not None


def _names(*functions: Any) -> set[str]:
    return {name for function in functions for name in inspect.signature(function).parameters} - {'self'}


_LATE = ('fold', 'shots', 'data_root', 'work_root', 'candidate_area')
# Of components: what is read of their dict before it reaches the constructor.
_BESIDE = {'priority', 'constructor', 'paramwise_cfg', 'requires_grad', 'feature_store'}
# Dicts without a type, by the name of their field.
_LOADER = _names(DataLoader) | {'num_batch_per_epoch'}
_LOOP = _names(EpochBasedTrainLoop, IterBasedTrainLoop, ValLoop, TestLoop) - {'runner'} | {'by_epoch'}
_FIELDS: dict[str, set[str]] = {
    **dict.fromkeys(('train_dataloader', 'val_dataloader', 'test_dataloader'), _LOADER),
    # of the runner, or of a model
    **dict.fromkeys(('train_cfg', 'val_cfg', 'test_cfg'), _LOOP | {'mode', 'crop_size', 'stride', 'threshold'}),
    'feature_store': set(StoreOptions.__dataclass_fields__),
    'auto_scale_lr': {'enable', 'base_batch_size'},
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'mp_cfg': {'mp_start_method', 'opencv_num_threads'},
    'dist_cfg': {'backend', 'timeout', 'init_backend', 'init_method', 'world_size', 'rank', 'port'},
    'randomness': {'seed', 'diff_rank_seed', 'deterministic'},
    'base_learner': {'config', 'checkpoint', 'cfg_options'},
    'clip_grad': {'type', 'max_norm', 'norm_type', 'clip_value', 'error_if_nonfinite', 'foreach'},
}
_TOP = _names(Runner.__init__) | {
    *('base_learner', 'total_batch_size', 'runner_type', 'model_wrapper_cfg', 'find_unused_parameters', 'sync_bn'),
    *('custom_imports', 'compile', 'activation_checkpointing', 'efficient_conv_bn_eval'),
    *_LATE,
}
