# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Using a trained model: register classes by a few annotated images, then segment anything."""

from .inferencer import FewShotInferencer
from .registered_class import RegisteredClass
from .results import SegmentationResult, mask_from_scores
from .support_check import SupportCheck, check_supports

__all__ = [
    'FewShotInferencer',
    'RegisteredClass',
    'SegmentationResult',
    'SupportCheck',
    'check_supports',
    'mask_from_scores',
]
