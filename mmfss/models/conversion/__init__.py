# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Released checkpoints in mmfss: renaming, detection, checks. Used by tools/model_converters."""

from .base_learner import BASE_LEARNER_KEYS, convert_base_learner
from .imagenet import convert_imagenet
from .msanet import MSANET_KEYS, convert_msanet, rename_msanet_keys
from .names import ConversionError
from .variant import Variant

__all__ = [
    'BASE_LEARNER_KEYS',
    'ConversionError',
    'MSANET_KEYS',
    'Variant',
    'convert_base_learner',
    'convert_imagenet',
    'convert_msanet',
    'rename_msanet_keys',
]
