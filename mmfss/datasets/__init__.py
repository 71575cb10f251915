# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Data sets, episodes and protocols."""

from . import transforms
from .class_index import ClassIndex, load_class_index
from .coco20i import COCO20iDataset
from .divided_folder import DividedFolderDataset
from .episodes import Episode, episodes_hash, read_episodes, write_episodes
from .episodic_dataset import EpisodicDataset
from .few_shot_dataset import FewShotSegDataset
from .fixed_views import FixedViews
from .folder import FolderFewShotDataset, FSS1000Dataset
from .mapped_dataset import MappedFewShotDataset
from .pascal5i import Pascal5iDataset
from .protocols import (
    BalancedProtocol,
    BamProtocol,
    EpisodeProtocol,
    HdmnetProtocol,
    HsnetProtocol,
    PfenetProtocol,
    RepriProtocol,
)
from .revisiting import RevisitSampler
from .shapes import ShapesDataset
from .stored_episodes import StoredEpisodes
from .wrapped_dataset import WrappedFewShotDataset

__all__ = [
    'BalancedProtocol',
    'BamProtocol',
    'COCO20iDataset',
    'ClassIndex',
    'DividedFolderDataset',
    'Episode',
    'EpisodeProtocol',
    'EpisodicDataset',
    'FSS1000Dataset',
    'FewShotSegDataset',
    'FixedViews',
    'FolderFewShotDataset',
    'HdmnetProtocol',
    'HsnetProtocol',
    'MappedFewShotDataset',
    'Pascal5iDataset',
    'PfenetProtocol',
    'RepriProtocol',
    'RevisitSampler',
    'ShapesDataset',
    'StoredEpisodes',
    'WrappedFewShotDataset',
    'episodes_hash',
    'load_class_index',
    'read_episodes',
    'transforms',
    'write_episodes',
]
