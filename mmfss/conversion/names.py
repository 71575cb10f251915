# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Renaming the keys of state dicts by tables of patterns."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from mmfss.utils.wording import listed

Rules = Iterable[tuple[str, str]]  # (pattern of the whole released key, name here), first match wins

# The backbones of PFENet, BAM and MSANet: layer0 is the stem, layer1 to layer4 as in torchvision.
_RESNET_RULES = ((r'layer0\.(.+)', r'backbone.stem.\1'), (r'(layer[1-4]\..+)', r'backbone.\1'))
# VGG16 is cut into five slices of torchvision's `features`, layer0 to layer4.
_VGG_RULES = ((r'(layer[0-4]\..+)', r'backbone.\1'),)


class ConversionError(ValueError):
    """A checkpoint that is not what a converter takes; the message names the keys."""


def strip_parallel_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keys without the ``module.`` that a multi-GPU run puts before each."""
    return {key.removeprefix('module.'): value for key, value in state.items()}


def backbone_rules(state: Iterable[str]) -> Rules:
    """The backbone's renaming: a bottleneck has named convs, a slice of VGG numbered ones."""
    named = any(re.match(r'layer1\.\d+\.conv1\.', key) for key in state)
    return _RESNET_RULES if named else _VGG_RULES


def rename(state: Mapping[str, Tensor], rules: Rules) -> tuple[dict[str, Tensor], list[str]]:
    """Apply rules to every key.

    Args:
        state (Mapping[str, Tensor]): Released names.
        rules (Rules): Tried in order, on the whole key.

    Returns:
        tuple[dict[str, Tensor], list[str]]: The renamed state dict, and keys that no rule knows.
    """
    rules = tuple(rules)
    renamed, unknown = {}, []
    for key, value in state.items():
        for pattern, name in rules:
            if match := re.fullmatch(pattern, key):
                renamed[match.expand(name)] = value
                break
        else:
            unknown.append(key)
    return renamed, unknown


def renamed_model(state: Mapping[str, Tensor], rules: Rules, title: str) -> dict[str, Tensor]:
    """A whole released model under the names used here: a method's own rules, and the backbone's.

    Args:
        state (Mapping[str, Tensor]): Released names, without a parallel prefix.
        rules (Rules): Of the method's own parts.
        title (str): What it should be, for the message.

    Raises:
        ConversionError: When there are keys that no rule knows; the message names them.
    """
    renamed, unknown = rename(state, (*rules, *backbone_rules(state)))
    if unknown:
        raise ConversionError(f'not a released {title}: unknown keys {listed(unknown, 6)}')
    return renamed
