# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The one list of what a pipeline's steps are; whoever takes a pipeline apart or adds to it asks here."""

import inspect
from collections.abc import Sequence

from mmcv.transforms import LoadAnnotations, LoadImageFromFile, Resize
from mmseg.datasets.transforms import PackSegInputs, ResizeShortestEdge

from mmfss.registry import TRANSFORMS

from .transforms import PackEpisodeInputs, ResizeLongSide, ScoreAtNetworkSize, WeakAnnotation

IMAGE = 'image'  # loads the image
ANNOTATION = 'annotation'  # loads the label maps
WEAK = 'weak annotation'  # puts a box, a scribble or a point in the place of the mask
GEOMETRY = 'geometry'  # gives the image the size of the network
SCORING = 'scoring'  # says at which size predictions are scored
PACKING = 'packing'  # makes the model's inputs
OTHER = 'other'

_KINDS = {
    IMAGE: (LoadImageFromFile,),
    ANNOTATION: (LoadAnnotations,),
    WEAK: (WeakAnnotation,),
    GEOMETRY: (ResizeLongSide, Resize, ResizeShortestEdge),  # padding to a multiple is no geometry: it may come after
    SCORING: (ScoreAtNetworkSize,),
    PACKING: (PackEpisodeInputs, PackSegInputs),
}


def step_kind(step) -> str:
    """What a step of a pipeline is.

    Args:
        step (dict | BaseTransform): A config or a built transform; subclasses are what their parents are.

    Returns:
        str: One of the constants of this file; ``OTHER`` for colours, padding, and what is not known.
    """
    kind = step.get('type') if isinstance(step, dict) else type(step)
    if isinstance(kind, str):
        kind = TRANSFORMS.get(kind)
    if inspect.isclass(kind):
        for name, classes in _KINDS.items():
            if issubclass(kind, classes):
                return name
    return OTHER


def build_transforms(pipeline: Sequence) -> list:
    """Build transforms in the scope of mmfss, whatever the default scope is."""
    return [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline]


def with_weak_annotation(transforms: Sequence, annotation: str | dict) -> list:
    """A support pipeline with a weak annotation behind the loading of the mask.

    Args:
        transforms (Sequence): Built transforms.
        annotation (str | dict): A kind, or ``dict(kind=..., ...)`` with arguments of
            :class:`mmfss.datasets.transforms.WeakAnnotation`.

    Returns:
        list: The transforms and the new one.

    Raises:
        ValueError: When the pipeline loads no mask, or holds a WeakAnnotation already.
    """
    options = dict(kind=annotation) if isinstance(annotation, str) else dict(annotation)
    options.pop('type', None)
    kinds = [step_kind(step) for step in transforms]
    if WEAK in kinds or ANNOTATION not in kinds:
        raise ValueError(
            '`support_annotation` puts a WeakAnnotation behind LoadFewShotAnnotations in `support_pipeline`, which '
            f'holds {[type(step).__name__ for step in transforms]}: give one of the two, and load the mask there.'
        )
    place = kinds.index(ANNOTATION) + 1
    return [*transforms[:place], WeakAnnotation(**options), *transforms[place:]]


def annotation_kind(transforms: Sequence) -> str:
    """Which kind of annotation a built support pipeline gives: 'mask', 'box', 'scribble' or 'point'."""
    return next((step.kind for step in transforms if step_kind(step) == WEAK), 'mask')
