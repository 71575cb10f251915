# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The model for photos of anything that comes with mmfss: no training, no download."""

from pathlib import Path

CONFIG = 'prototype_residual/lite0_photos'
CHECKPOINT = Path(__file__).parents[1] / 'weights' / 'lite0_photos.pth'


def preset_checkpoint() -> Path:
    """Path of the weights.

    Raises:
        FileNotFoundError: When the package was built without them.
    """
    if not CHECKPOINT.is_file():
        raise FileNotFoundError(
            f'{CHECKPOINT} is missing: this copy of mmfss comes without the weights for photos. Train them '
            f'(`python tools/train.py configs/{CONFIG}.py`) and give FewShotInferencer a config and a checkpoint'
        )
    return CHECKPOINT
