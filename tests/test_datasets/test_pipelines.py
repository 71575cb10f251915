# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The list of what a pipeline's steps are."""

import pytest

from mmfss.datasets import pipelines
from mmfss.datasets.pipelines import build_transforms, step_kind
from mmfss.datasets.transforms import LoadFewShotAnnotations


class Loader(LoadFewShotAnnotations):
    """What a user derives."""


@pytest.mark.parametrize(
    'step, kind',
    [
        (dict(type='LoadFewShotImage'), pipelines.IMAGE),
        (dict(type='mmcv.LoadImageFromFile'), pipelines.IMAGE),
        (dict(type='LoadFewShotAnnotations'), pipelines.ANNOTATION),
        (dict(type='mmseg.LoadAnnotations'), pipelines.ANNOTATION),
        (dict(type=Loader), pipelines.ANNOTATION),
        (Loader(), pipelines.ANNOTATION),
        (dict(type='WeakAnnotation'), pipelines.WEAK),
        (dict(type='mmfss.ResizeLongSide', size=64), pipelines.GEOMETRY),
        (dict(type='SquashResize', size=64), pipelines.GEOMETRY),
        (dict(type='mmseg.Resize', scale=(64, 64)), pipelines.GEOMETRY),
        (dict(type='ScoreAtNetworkSize'), pipelines.SCORING),
        (dict(type='PackEpisodeInputs'), pipelines.PACKING),
        (dict(type='mmseg.PackSegInputs'), pipelines.PACKING),
        (dict(type='mmseg.Pad', size_divisor=14), pipelines.OTHER),
        (dict(type='CLAHE'), pipelines.OTHER),
        (dict(type='NotRegistered'), pipelines.OTHER),
    ],
)
def test_kinds(step, kind):
    assert step_kind(step) == kind
    if isinstance(step, dict) and step['type'] != 'NotRegistered' and isinstance(step['type'], str):
        assert step_kind(build_transforms([step])[0]) == kind
