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
from .n_way_dataset import NWayEpisodicDataset
from .n_way_episodes import NWayEpisode, n_way_hash
from .panet_protocol import PanetProtocol
from .pascal5i import Pascal5iDataset
from .protocols import (
    AsgnetProtocol,
    BalancedProtocol,
    BamProtocol,
    CyctrProtocol,
    EpisodeProtocol,
    HdmnetProtocol,
    HsnetProtocol,
    PfenetProtocol,
    RepriProtocol,
)
from .released_hsnet import ReleasedHsnetProtocol
from .revisiting import RevisitSampler
from .shapes import ShapesDataset
from .stored_episodes import StoredEpisodes
from .wrapped_dataset import WrappedFewShotDataset

__all__ = [
    'AsgnetProtocol',
    'BalancedProtocol',
    'BamProtocol',
    'COCO20iDataset',
    'ClassIndex',
    'CyctrProtocol',
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
    'NWayEpisode',
    'NWayEpisodicDataset',
    'PanetProtocol',
    'Pascal5iDataset',
    'PfenetProtocol',
    'ReleasedHsnetProtocol',
    'RepriProtocol',
    'RevisitSampler',
    'ShapesDataset',
    'StoredEpisodes',
    'WrappedFewShotDataset',
    'episodes_hash',
    'load_class_index',
    'n_way_hash',
    'read_episodes',
    'transforms',
    'write_episodes',
]
