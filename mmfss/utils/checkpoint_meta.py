# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What a checkpoint says about the classes it was trained on, compared with the data at hand."""

from collections.abc import Mapping, Sequence
from typing import Any

# What the two sides of a fold are made of; compared between a checkpoint's dataset and ours.
_META_NAMES = {'fold': 'other fold', 'class_names': 'other classes', 'base_class_ids': 'other fold'}
_KINDS = dict(fold=int, class_names=str, base_class_names=str, base_class_ids=int)
_WANTED = dict(
    fold='a whole number is', class_names='names are', base_class_names='names are', base_class_ids='whole numbers are'
)
_SHOWN, _LONGEST = 4, 60


def wrong_meta(meta: Any) -> str | None:
    """What of a checkpoint's ``meta`` is no such value as training writes, of all that mmfss compares; None: nothing.

    Args:
        meta (Any): ``checkpoint['meta']``.
    """
    if not isinstance(meta, Mapping):
        return f'a {type(meta).__name__} under meta, where a dict is wanted'
    data = meta.get('dataset_meta')
    if not isinstance(data, Mapping | None):
        return f'a {type(data).__name__} under meta.dataset_meta, where a dict is wanted'
    for where, values in (('meta', meta), ('meta.dataset_meta', data or {})):
        for key, kind in _KINDS.items():
            value = values.get(key)
            items = value if isinstance(value, (list, tuple)) and key != 'fold' else [value]
            if value is not None and not all(isinstance(item, kind) for item in items):
                return f'{_short(value)[:_LONGEST]} under {where}.{key}, where {_WANTED[key]} wanted'
    return None


def meta_differences(ours: Mapping | None, theirs: Mapping | None) -> list[str]:
    """Compare the class side of two datasets' metainfo.

    Args:
        ours (Mapping | None): ``dataset.metainfo`` of the dataset in use.
        theirs (Mapping | None): ``checkpoint['meta']['dataset_meta']``.

    Returns:
        list[str]: One line a difference; empty when they agree or one side does not say.
    """
    lines = []
    for key, meaning in _META_NAMES.items():
        a, b = (side.get(key) if side else None for side in (ours, theirs))
        if a is None or b is None or _comparable(a) == _comparable(b):
            continue
        if key == 'base_class_ids' and lines:
            continue  # follows from the fold or the names, which are easier to read
        lines.append(f'{meaning}: {key} {_short(b)} instead of {_short(a)}')
    return lines


def _comparable(value):
    """Lists and tuples of the same values count as equal."""
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _short(value) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 2 * _SHOWN:
        return f'({", ".join(map(str, value[:_SHOWN]))}, ... {len(value)} in all)'
    return str(value)


def base_class_names(metainfo: Mapping) -> tuple[str, ...] | None:
    """Names of the base classes in ascending class order, from a dataset's metainfo."""
    names, ids = metainfo.get('class_names'), metainfo.get('base_class_ids')
    if names is None or ids is None:
        return None
    return tuple(names[i] for i in ids)


def base_learner_differences(meta: Mapping, ours: Mapping) -> list[str]:
    """Compare what a base learner was trained on with the dataset it is to serve.

    Args:
        meta (Mapping): The checkpoint's ``meta``: ``fold`` and ``base_class_names``.
        ours (Mapping): The dataset's metainfo, as far as it is known: ``fold`` at least.

    Returns:
        list[str]: One line a difference; empty when they agree or one side does not say.
    """
    lines = []
    if None not in (meta.get('fold'), ours.get('fold')) and meta['fold'] != ours['fold']:
        lines.append(f'other fold: it was trained on fold {meta["fold"]}, this run is fold {ours["fold"]}')
    known, needed = meta.get('base_class_names'), base_class_names(ours)
    if known and needed and tuple(known) != needed:
        lines.append(f'other classes: {tuple(known)} instead of {needed}')
    return lines


def plain_values(value: Any) -> Any:
    """Containers of plain Python values only, so that a checkpoint with them is read as weights and plain values.

    Args:
        value (Any): Dicts, lists and tuples stay; NumPy's and torch's values become numbers or lists, all else a text.
    """
    if isinstance(value, Mapping):
        return {k if isinstance(k, (int, str)) else str(k): plain_values(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(plain_values, value)) if type(value) in (list, tuple) else list(map(plain_values, value))
    if value is None or type(value) in (bool, int, float, str):
        return value
    return value.tolist() if hasattr(value, 'tolist') else str(value)
