# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Does a checkpoint belong to this model and these classes? Says why not, in words."""

import re
from collections.abc import Mapping, Sequence

import torch

from mmfss.models.loading import describe_mismatch

# What the two sides of a fold are made of; compared between a checkpoint's dataset and ours.
_META_NAMES = {'fold': 'other fold', 'class_names': 'other classes', 'base_class_ids': 'other fold'}
_SHOWN = 4


def model_state(checkpoint: Mapping) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint dict, without a data-parallel prefix ``module.``."""
    state = checkpoint.get('state_dict', checkpoint)
    return {re.sub(r'^module\.', '', key): value for key, value in state.items()}


def state_differences(
    expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor], ignore: Sequence[str] = ()
) -> list[str]:
    """Compare two state dicts by names and shapes.

    Args:
        expected (Mapping): The model's own weights.
        found (Mapping): The checkpoint's weights.
        ignore (Sequence[str]): Regular expressions (``re.match``) of names left out.

    Returns:
        list[str]: One line a difference, headed by what it most likely means; empty when it fits.
    """

    def compared(state: Mapping) -> dict[str, torch.Tensor]:
        return {
            key: value
            for key, value in state.items()
            if hasattr(value, 'shape') and not any(re.match(p, key) for p in ignore)
        }

    ours, theirs = compared(expected), compared(found)
    problems = describe_mismatch(ours, theirs, _SHOWN)
    if not problems:
        return []
    shapes = [key for key in ours if key in theirs and ours[key].shape != theirs[key].shape]
    lines = []
    if any(key.startswith('backbone.') for key in {*shapes, *(ours.keys() ^ theirs.keys())}):
        lines.append('it has another backbone')
    # A classifier of another size differs in its number of outputs and in nothing else.
    if any(_is_classifier(key) and ours[key].shape[1:] == theirs[key].shape[1:] for key in shapes):
        lines.append('it has another number of classes')
    return lines + [f'weights {problem}' for problem in problems]


def _is_classifier(key: str) -> bool:
    return re.search(r'(conv_seg|cls_seg|classifier|fc)\.(weight|bias)$', key) is not None


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
        if a is None or b is None or _plain(a) == _plain(b):
            continue
        if key == 'base_class_ids' and lines:
            continue  # follows from the fold or the names, which are easier to read
        lines.append(f'{meaning}: {key} {_short(b)} instead of {_short(a)}')
    return lines


def _plain(value):
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
