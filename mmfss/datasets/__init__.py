# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Data sets, episodes and protocols."""

from . import transforms
from .class_index import ClassIndex, load_class_index
from .coco20i import COCO20iDataset
from .episodes import Episode, episodes_hash, read_episodes, write_episodes
from .episodic_dataset import EpisodicDataset
from .few_shot_dataset import FewShotSegDataset
from .pascal5i import Pascal5iDataset
from .protocols import (
    BalancedProtocol,
    BamProtocol,
    EpisodeProtocol,
    HdmnetProtocol,
    HsnetProtocol,
    PfenetProtocol,
)
from .shapes import ShapesDataset

__all__ = [
    'BalancedProtocol', 'BamProtocol', 'COCO20iDataset', 'ClassIndex', 'Episode',
    'EpisodeProtocol', 'EpisodicDataset', 'FewShotSegDataset', 'HdmnetProtocol', 'HsnetProtocol',
    'Pascal5iDataset', 'PfenetProtocol', 'ShapesDataset', 'episodes_hash', 'load_class_index',
    'read_episodes', 'transforms', 'write_episodes'
]
