# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Which backbone, data set and number of shots released weights are of, read from their shapes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from .names import ConversionError

BACKBONES = dict(vgg16='VGG16-BN', r50='ResNet-50', r101='ResNet-101')
# Data set -> its name, its class here, outputs of the base learner (background and base classes).
DATASETS = dict(pascal=('PASCAL-5i', 'Pascal5iDataset', 16), coco=('COCO-20i', 'COCO20iDataset', 61))
_LAYER3_BLOCKS = {6: 'r50', 23: 'r101'}


@dataclass(frozen=True)
class Variant:
    """One of the released models.

    Attributes:
        method (str): 'msanet' (stage 2) or 'pspnet' (stage 1).
        backbone (str): 'vgg16', 'r50' or 'r101'.
        dataset (str): 'pascal' or 'coco'.
        shots (int): K that the weights of the shots were learnt for, 1 without such weights.
    """

    method: str
    backbone: str
    dataset: str
    shots: int = 1

    @property
    def config(self) -> str:
        """The config that the weights belong to, relative to the repository."""
        name = f'configs/{self.method}/{self.backbone}_{self.dataset}'
        if self.method == 'msanet':
            name += '_1shot' if self.shots == 1 else '_5shot'
        return f'{name}.py'

    @property
    def cfg_options(self) -> dict[str, int]:
        """What the config needs in addition: the number of shots where it is neither 1 nor 5."""
        if self.shots in (1, 5):
            return {}
        datasets = {f'{phase}_dataloader.dataset.shots': self.shots for phase in ('train', 'val', 'test')}
        return {'model.decode_head.shot_weighting.shots': self.shots, **datasets}

    def __str__(self) -> str:
        name, _, outputs = DATASETS[self.dataset]
        shots = f', {self.shots}-shot' if self.method == 'msanet' else ''
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


def detect_dataset(state: Mapping[str, Tensor], classifier: str) -> str:
    """The data set by the number of outputs of the base learner's classifier.

    Args:
        state (Mapping[str, Tensor]): Released names.
        classifier (str): The classifier's weight.

    Raises:
        ConversionError: When there is no such key, or its size fits no data set.
    """
    if classifier not in state:
        raise ConversionError(f'no base learner: {classifier} is missing')
    found = state[classifier].shape[0]
    for dataset, (_, _, outputs) in DATASETS.items():
        if found == outputs:
            return dataset
    known = ', '.join(f'{name} {outputs}' for name, _, outputs in DATASETS.values())
    raise ConversionError(f'unknown data set: {classifier} has {found} outputs ({known})')


def detect_shots(state: Mapping[str, Tensor]) -> int:
    """K of the convs that weight the shots, 1 where there are none."""
    weight = state.get('kshot_rw.0.weight')
    return 1 if weight is None else weight.shape[1]
