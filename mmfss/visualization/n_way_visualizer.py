# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from collections.abc import Sequence

import numpy as np
from mmengine.structures import BaseDataElement

from mmfss.registry import VISUALIZERS

from .episode_visualizer import EpisodeVisualizer, _map_of, _without_padding
from .sheet import Panel, overlay_index_map


@VISUALIZERS.register_module()
class NWayEpisodeVisualizer(EpisodeVisualizer):
    """Draws an episode of several classes as one sheet: its supports, the query with ground truth, and the prediction.

    Each class of the episode has a colour, which the legend names.

    Args:
        **kwargs: See :class:`EpisodeVisualizer`; there is one output.
    """

    def episode_panels(
        self,
        query: np.ndarray,
        data_sample: BaseDataElement,
        supports: Sequence[tuple[np.ndarray, BaseDataElement]] = (),
    ) -> list[Panel]:
        """The panels of :meth:`EpisodeVisualizer.draw_episode`, of samples with ``way_class_ids``."""
        names = [self._class_name(c) for c in data_sample.get('way_class_ids')]
        panels = []
        if supports:
            views = [_without_padding(image, _map_of(s, 'gt_sem_seg'), s.get('ori_shape')) for image, s in supports]
            drawn = [self._tinted(image, mask, names)[0] for image, mask in views]
            panels.append(Panel(f'Supports ({len(names)} x {len(supports) // len(names)})', drawn, note='annotation'))
        for title, key, note in (('Query', 'gt_sem_seg', 'ground truth'), ('Final', 'pred_sem_seg', 'prediction')):
            index_map = _map_of(data_sample, key)
            if index_map is not None:
                image, legend = self._tinted(query, index_map, names)
                panels.append(Panel(title, [image], note=note, legend=legend))
        return panels

    def _tinted(self, image: np.ndarray, index_map: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, list]:
        return overlay_index_map(image, index_map, names, self.height, max(self.alpha, 0.55))
