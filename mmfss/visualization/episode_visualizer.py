# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from collections.abc import Sequence

import cv2
import numpy as np
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer

from mmfss.evaluation.functional import confusion, foreground_iou
from mmfss.registry import VISUALIZERS
from mmfss.structures import prediction_key
from mmfss.utils.files import atomic_open, file_stem

from .sheet import GIVEN, PREDICTED, Panel, compose_sheet, overlay_index_map, overlay_mask


@VISUALIZERS.register_module()
class EpisodeVisualizer(Visualizer):
    """Draws an episode as one sheet: supports, query with ground truth, then the model's outputs.

    The row of Figure 5 of the MSANet paper. Annotations are blue, predictions vermilion, base
    classes each in a colour of their own with a legend. Outputs that a model does not give have no
    panel.

    Args:
        name (str): Name of the instance. Defaults to 'visualizer'.
        outputs (Sequence[str]): Output panels from left to right: ``final``, ``base``, or any name
            n with a ``pred_{n}_seg``. Defaults to ('meta', 'base', 'final').
        height (int): Height of the panels, pixels. Defaults to 300.
        alpha (float): Weight of the overlay colours, 0..1. Defaults to 0.5.
        **kwargs: Of :class:`mmengine.visualization.Visualizer`, such as ``vis_backends`` and
            ``save_dir``.
    """

    def __init__(
        self,
        name: str = 'visualizer',
        outputs: Sequence[str] = ('meta', 'base', 'final'),
        height: int = 300,
        alpha: float = 0.5,
        **kwargs,
    ) -> None:
        super().__init__(name, **kwargs)
        self.outputs = tuple(outputs)
        self.height = height
        self.alpha = alpha

    def draw_episode(
        self,
        query: np.ndarray,
        data_sample: BaseDataElement,
        supports: Sequence[tuple[np.ndarray, BaseDataElement]] = (),
    ) -> np.ndarray:
        """Draw one episode.

        Args:
            query (np.ndarray): (h, w, 3) uint8 RGB.
            data_sample (BaseDataElement): The query's sample: metainfo ``class_name``, ``run``,
                ``episode`` where known, ``gt_sem_seg`` and predictions of any size that shows the
                same view as ``query``.
            supports (Sequence[tuple]): K pairs of image (H, W, 3) uint8 RGB, as the network saw it,
                and sample with ``gt_sem_seg`` (1, H, W).

        Returns:
            np.ndarray: The sheet, uint8 RGB.
        """
        panels = self.episode_panels(query, data_sample, supports)
        where = [
            f'{word} {data_sample.get(key)}'
            for word, key in (('run', 'run'), ('episode', 'episode'))
            if data_sample.get(key) is not None
        ]
        if data_sample.get('img_path'):
            where.append(file_stem(data_sample.get('img_path')))
        return compose_sheet(panels, str(data_sample.get('class_name', '')), ',  '.join(where), self.height)

    def episode_panels(
        self,
        query: np.ndarray,
        data_sample: BaseDataElement,
        supports: Sequence[tuple[np.ndarray, BaseDataElement]] = (),
    ) -> list[Panel]:
        """The panels of :meth:`draw_episode`: supports, query, and every output that the sample has."""
        panels = []
        if supports:
            panels.append(self._support_panel(supports, data_sample.get('class_id')))
        label = _map_of(data_sample, 'gt_sem_seg')
        if label is None:
            panels.append(Panel('Query', [query]))
        else:
            panels.append(Panel('Query', [self._overlay(query, label, GIVEN)], note='ground truth'))
        for name in self.outputs:
            panel = self._output_panel(name, query, data_sample, label)
            if panel is not None:
                panels.append(panel)
        return panels

    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: BaseDataElement | None = None,
        supports: Sequence[tuple[np.ndarray, BaseDataElement]] = (),
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        step: int = 0,
    ) -> None:
        """Draw an episode and show it, write it to a file, or hand it to the backends.

        Args:
            name (str): Tag for the backends, window title when shown.
            image (np.ndarray): The query, (h, w, 3) uint8 RGB.
            data_sample (BaseDataElement): The query's sample.
            supports (Sequence[tuple]): As in :meth:`draw_episode`.
            show (bool): Open a window. Defaults to False.
            wait_time (float): Seconds a window stays; 0: until a key is pressed. Defaults to 0.
            out_file (str, optional): Write the sheet here, on any rank, instead of to the backends
                (which only the main process feeds).
            step (int): Step for the backends. Defaults to 0.

        Raises:
            OSError: When ``out_file`` cannot be written.
        """
        sheet = self.draw_episode(image, data_sample, supports)
        if show:
            self.show(sheet, win_name=name, wait_time=wait_time)
        if out_file is not None:
            encoded, data = cv2.imencode('.png', sheet[..., ::-1])
            assert encoded
            with atomic_open(out_file, sync=False) as file:  # cv2.imwrite only returns False when the disk is full
                file.write(data.tobytes())
        else:
            self.add_image(name, sheet, step)

    def _overlay(self, image: np.ndarray, mask: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
        return overlay_mask(image, mask, color, self.height, self.alpha)

    def _support_panel(self, supports: Sequence[tuple[np.ndarray, BaseDataElement]], class_id: int | None) -> Panel:
        drawn, other = [], []
        for image, sample in supports:
            mask = _map_of(sample, 'gt_sem_seg')
            image, mask = _without_padding(image, mask, sample.get('ori_shape'))
            drawn.append(self._overlay(image, mask, GIVEN))
            if class_id is not None and sample.get('class_id', class_id) != class_id:
                other.append(self._class_name(sample.get('class_id')))
        title = 'Support' if len(supports) == 1 else f'Supports (K = {len(supports)})'
        note = f'of another class: {", ".join(dict.fromkeys(other))}' if other else 'annotation'
        return Panel(title, drawn, note=note)

    def _output_panel(
        self, name: str, query: np.ndarray, sample: BaseDataElement, label: np.ndarray | None
    ) -> Panel | None:
        prediction = _map_of(sample, prediction_key(name))
        if prediction is None:
            return None
        title = name[:1].upper() + name[1:]
        if name == 'base':
            names = [self._class_name(i) for i in (self.dataset_meta or {}).get('base_class_ids', ())]
            image, legend = overlay_index_map(query, prediction, names, self.height, max(self.alpha, 0.55))
            return Panel(title, [image], note='base classes', legend=legend)
        note = '' if label is None else f'IoU {episode_iou(prediction, label):.1f}'
        return Panel(title, [self._overlay(query, prediction, PREDICTED)], note=note)

    def _class_name(self, class_id: int) -> str:
        names = (self.dataset_meta or {}).get('class_names', ())
        return names[class_id] if class_id < len(names) else f'class {class_id}'


def episode_iou(prediction: np.ndarray, label: np.ndarray) -> float:
    """Foreground IoU of one episode in percent."""
    return float(foreground_iou(confusion(prediction, label))) * 100


def _map_of(sample: BaseDataElement, key: str) -> np.ndarray | None:
    """The (h, w) map of a PixelData field, or None where the sample has no such field."""
    if key not in sample:
        return None
    data = sample.get(key).data.detach().cpu().numpy()
    return data.reshape(data.shape[-2:])


def _without_padding(image: np.ndarray, mask: np.ndarray, ori_shape: tuple[int, int] | None) -> tuple:
    """Cut off the padding (label 255) of a network-size image and undo its squashing."""
    known = mask != 255
    if known.any():
        rows, columns = np.flatnonzero(known.any(1)), np.flatnonzero(known.any(0))
        view = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        image, mask = image[view], mask[view]
    if ori_shape is not None:
        width = max(1, round(image.shape[0] * ori_shape[1] / ori_shape[0]))
        image = cv2.resize(np.ascontiguousarray(image), (width, image.shape[0]))
    return image, mask
