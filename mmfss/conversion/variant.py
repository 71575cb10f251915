# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Which backbone, data set and number of shots released weights are of, read from their shapes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .methods import METHODS, ReleasedMethod
from .names import ConversionError

BACKBONES = dict(vgg16='VGG16', r50='ResNet-50', r101='ResNet-101')
# Data set -> its name, its class here, outputs of the base learner (background and base classes).
RELEASED_DATASETS = dict(
    pascal=('PASCAL-5i', 'Pascal5iDataset', 16),
    coco=('COCO-20i', 'COCO20iDataset', 61),
    fss=('FSS-1000', 'FSS1000Dataset', 521),
)
_LAYER3_BLOCKS = {6: 'r50', 23: 'r101'}


@dataclass(frozen=True)
class Variant:
    """One of the released models.

    Attributes:
        method (str): Key of :data:`mmfss.conversion.methods.METHODS`.
        backbone (str): Key of :data:`BACKBONES`.
        dataset (str): Key of :data:`RELEASED_DATASETS`.
        shots (int): K that the weights of the shots were learnt for, 1 without such weights.
    """

    method: str
    backbone: str
    dataset: str
    shots: int = 1

    @property
    def released(self) -> ReleasedMethod:
        """What is known about its method."""
        return METHODS[self.method]

    @property
    def config(self) -> str:
        """The config that the weights belong to, relative to the repository."""
        return self.released.config(self)

    @property
    def cfg_options(self) -> dict[str, Any]:
        """What the config needs in addition, as ``--cfg-options`` takes it."""
        return self.released.cfg_options(self)

    def __str__(self) -> str:
        name, _, outputs = RELEASED_DATASETS[self.dataset]
        shots = '' if self.released.base_learner else f', {self.shots}-shot'
        return f'{BACKBONES[self.backbone]}, {name} ({outputs - 1} base classes){shots}'


def detect_backbone(state: Mapping[str, Tensor]) -> str:
    """The backbone of a released state dict (names of PFENet, BAM and MSANet).

    Raises:
        ConversionError: When it is none of the three.
    """
    blocks = {match.group(1) for key in state if (match := re.match(r'layer3\.(\d+)\.conv1\.weight', key))}
    if blocks:
        if len(blocks) not in _LAYER3_BLOCKS:
            raise ConversionError(
                f'unknown backbone: layer3.* has {len(blocks)} blocks, ResNet-50 has 6 and ResNet-101 has 23'
            )
        return _LAYER3_BLOCKS[len(blocks)]
    if 'layer4.6.weight' in state:
        return 'vgg16'
    raise ConversionError(
        'unknown backbone: neither layer3.0.conv1.weight (ResNet) nor layer4.6.weight (VGG16-BN) is there'
    )


def detect_dataset(state: Mapping[str, Tensor], classifier: str, told: str | None = None) -> str:
    """The data set by the number of outputs of a base learner's classifier, for methods that carry one.

    Args:
        state (Mapping[str, Tensor]): Released names.
        classifier (str): The classifier's weight.
        told (str, optional): What the user says, to be compared.

    Raises:
        ConversionError: When there is no such key, its size fits no data set, or the user says another.
    """
    if classifier not in state:
        raise ConversionError(f'no base learner: {classifier} is missing')
    found = state[classifier].shape[0]
    for dataset, (name, _, outputs) in RELEASED_DATASETS.items():
        if found == outputs:
            if told not in (None, dataset):
                raise ConversionError(f'{classifier} has {found} outputs: it is of {name}, not of {told}')
            return dataset
    known = ', '.join(f'{name} {outputs}' for name, _, outputs in RELEASED_DATASETS.values())
    raise ConversionError(f'unknown data set: {classifier} has {found} outputs ({known})')


def told_dataset(told: str | None) -> str:
    """The data set as the user says, for methods whose weights do not tell.

    Raises:
        ConversionError: When the user does not say it.
    """
    if told is None:
        raise ConversionError(f'the weights do not say their data set: add --dataset {" or ".join(RELEASED_DATASETS)}')
    return told
