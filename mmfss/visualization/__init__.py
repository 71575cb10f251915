# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from .episode_visualizer import EpisodeVisualizer
from .n_way_visualizer import NWayEpisodeVisualizer
from .sheet import Panel, compose_sheet, overlay_index_map, overlay_mask

__all__ = ['EpisodeVisualizer', 'NWayEpisodeVisualizer', 'Panel', 'compose_sheet', 'overlay_index_map', 'overlay_mask']
