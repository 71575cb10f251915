# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Transforms that MMSegmentation lacks; everything else comes from mmseg and mmcv."""

from .blur import RandomGaussianBlur
from .crop import ForegroundCrop
from .geometry import RandomScale, ResizeLongSide, ScoreAtNetworkSize, SquashResize
from .loading import (
    CorruptFileError,
    LoadBrightAnnotations,
    LoadFewShotAnnotations,
    LoadFewShotImage,
    start_padding_map,
)
from .n_way import LoadNWayAnnotations
from .packing import PackEpisodeInputs
from .photometric import RandomPhotometry
from .weak_masks import WeakAnnotation

__all__ = [
    'CorruptFileError',
    'ForegroundCrop',
    'LoadBrightAnnotations',
    'LoadFewShotAnnotations',
    'LoadFewShotImage',
    'LoadNWayAnnotations',
    'PackEpisodeInputs',
    'RandomGaussianBlur',
    'RandomPhotometry',
    'RandomScale',
    'ResizeLongSide',
    'ScoreAtNetworkSize',
    'SquashResize',
    'WeakAnnotation',
    'start_padding_map',
]
