# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What a program without mmfss must know to use the exported graphs."""

from mmengine.config import Config
from torch import nn

import mmfss
from mmfss.datasets.pipelines import GEOMETRY, OTHER, step_kind


def geometry(cfg: Config) -> list[dict]:
    """The steps of the test pipeline between loading and packing, for query and supports alike."""
    dataset = cfg.get('test_dataloader', {}).get('dataset', {})
    steps = [dict(step) for step in dataset.get('query_pipeline') or ()]
    return [step for step in steps if step_kind(step) in (GEOMETRY, OTHER)]


def describe(cfg: Config, model: nn.Module, names: list[str], shots: int | None, files: dict[str, str]) -> dict:
    """The facts, ready for JSON.

    Args:
        cfg (Config): The model's config.
        model (nn.Module): Built from it.
        names (list[str]): Of the bank's tensors, in order.
        shots (int, optional): K if it is fixed.
        files (dict[str, str]): Graph -> file name.
    """
    preprocessor = model.data_preprocessor
    mean, std = (getattr(preprocessor, key).flatten().tolist() for key in ('mean', 'std'))
    return dict(
        format='mmfss-export-1',
        mmfss_version=mmfss.__version__,
        model=str(cfg.filename).rsplit('/', 1)[-1].removesuffix('.py'),
        fingerprint=model.fingerprint,
        files=files,
        preprocessing=dict(
            channel_order='RGB' if preprocessor.bgr_to_rgb else 'BGR',
            value_range=[0, 255],
            mean=mean,
            std=std,
            geometry=geometry(cfg),
        ),
        shots=shots,
        support_encoder=dict(
            inputs=dict(
                images='float32 (shots, 3, height, width), normalised',
                masks='float32 (shots, height, width): 1 is foreground, anything else is not',
            ),
            outputs=names,
        ),
        segmenter=dict(
            inputs=['query', *names],
            query='float32 (1, 3, height, width), normalised; its size may differ from that of the supports',
            outputs=dict(scores='float32 (1, 2, height, width), background and foreground: the mask is their argmax'),
        ),
    )
