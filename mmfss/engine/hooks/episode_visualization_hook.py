# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import logging
import os
import os.path as osp
import re
from collections.abc import Sequence

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer

from mmfss.datasets.image_files import read_rgb
from mmfss.registry import HOOKS
from mmfss.utils.files import check_writable, file_stem
from mmfss.visualization.contact_sheet import to_rgb
from mmfss.visualization.episode_visualizer import EpisodeVisualizer, episode_iou


@HOOKS.register_module()
class EpisodeVisualizationHook(Hook):
    """Draws episodes: to ``show_dir`` while testing, to the visualizer's backends while validating.

    Which episodes are drawn depends on their own index only, so one and several processes draw the
    same test sheets. A test sheet is ``run0_ep0007_cat_2007_000464_iou63.2.png``: run, episode,
    class, query, IoU of ``final`` in percent. Validation sheets go by
    ``val_run0_ep0000_cat_2007_000464`` with the iteration as step (without the IoU, which the sheet
    shows, so that TensorBoard lines up the same episode over a training); only the main process's
    are kept.

    Args:
        show_dir (str, optional): Folder of the test sheets; None: none are drawn. ``tools/test.py
            --show-dir`` sets it.
        show (bool): Open each test sheet in a window. Defaults to False.
        wait_time (float): Seconds a window stays; 0: until a key is pressed. Defaults to 0.
        interval (int): Draw every n-th test episode of each run. Defaults to 1.
        max_episodes (int, optional): Draw at most so many test episodes of each run. Defaults to
            None: all.
        val_interval (int): Draw every n-th validation episode; 0: none. Defaults to 100.
        val_max_episodes (int): Draw at most so many episodes of each validation run. Defaults to 4.
    """

    priority = 'NORMAL'

    def __init__(
        self,
        show_dir: str | None = None,
        show: bool = False,
        wait_time: float = 0.0,
        interval: int = 1,
        max_episodes: int | None = None,
        val_interval: int = 100,
        val_max_episodes: int = 4,
    ) -> None:
        if interval < 1 or val_interval < 0:
            raise ValueError(
                'EpisodeVisualizationHook: interval must be at least 1 and val_interval at least 0, got '
                f'{interval} and {val_interval}'
            )
        self.show_dir = show_dir
        self.show = show
        self.wait_time = wait_time
        self.interval = interval
        self.max_episodes = max_episodes
        self.val_interval = val_interval
        self.val_max_episodes = val_max_episodes
        self._given_up = False

    def before_test(self, runner: Runner) -> None:
        """Refuse an unusable folder or visualizer before the test, not after it."""
        if self.show_dir is not None:
            check_writable(self.show_dir)
            os.makedirs(self.show_dir, exist_ok=True)
        if self.show_dir is not None or self.show:
            self._visualizer(runner)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Draw the chosen episodes of a test batch."""
        if (self.show_dir is None and not self.show) or self._given_up:
            return
        for position, sample in enumerate(outputs):
            if not _chosen(sample, self.interval, self.max_episodes):
                continue
            out_file = None if self.show_dir is None else osp.join(self.show_dir, _file_name(sample))
            self._draw(
                runner,
                f'test_{_episode_name(sample)}',
                data_batch,
                position,
                sample,
                show=self.show,
                wait_time=self.wait_time,
                out_file=out_file,
            )

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Draw the chosen episodes of a validation batch."""
        if not self.val_interval or self._given_up:
            return
        for position, sample in enumerate(outputs):
            if _chosen(sample, self.val_interval, self.val_max_episodes):
                self._draw(
                    runner,
                    f'val_{_episode_name(sample)}',
                    data_batch,
                    position,
                    sample,
                    step=runner.iter,
                )

    def _visualizer(self, runner: Runner) -> EpisodeVisualizer:
        visualizer: Visualizer = runner.visualizer
        if not isinstance(visualizer, EpisodeVisualizer):
            raise TypeError(
                'EpisodeVisualizationHook draws with an EpisodeVisualizer, but the config has '
                f"{type(visualizer).__name__}; set visualizer=dict(type='EpisodeVisualizer', ...)"
            )
        return visualizer

    def _draw(
        self,
        runner: Runner,
        name: str,
        data_batch: dict,
        position: int,
        sample: BaseDataElement,
        **kwargs,
    ) -> None:
        query = read_rgb(sample.img_path)
        supports = _supports_of(data_batch, position)
        try:
            self._visualizer(runner).add_datasample(name, query, sample, supports=supports, **kwargs)
        except OSError as error:
            # Pictures must not cost an evaluation that may have run for hours.
            self._given_up = True
            runner.logger.log(
                logging.ERROR,
                f'EpisodeVisualizationHook: a sheet could not be written ({error}); no more '
                'are drawn. Free some space or choose another --show-dir; the evaluation goes on.',
            )


def _chosen(sample: BaseDataElement, interval: int, limit: int | None) -> bool:
    nth, rest = divmod(int(sample.episode), interval)
    return rest == 0 and (limit is None or nth < limit)


def _episode_name(sample: BaseDataElement) -> str:
    class_name = re.sub(r'[^\w-]+', '-', str(sample.get('class_name', sample.get('class_id'))))
    return f'run{sample.run}_ep{int(sample.episode):04d}_{class_name}_{file_stem(sample.img_path)}'


def _file_name(sample: BaseDataElement) -> str:
    iou = ''
    if 'gt_sem_seg' in sample and 'pred_sem_seg' in sample and 'way_class_ids' not in sample:
        prediction, label = (sample.get(key).data[0].cpu().numpy() for key in ('pred_sem_seg', 'gt_sem_seg'))
        iou = f'_iou{episode_iou(prediction, label):.1f}'
    return f'{_episode_name(sample)}{iou}.png'


def _supports_of(data_batch: dict, position: int) -> list[tuple[np.ndarray, BaseDataElement]]:
    """The K supports of one sample of a collated batch, as RGB images.

    Both lists of the batch are [K][B]. The images come from the network's input, not from disk: it is the view that
    their masks belong to.
    """
    images, samples = data_batch['inputs']['support'], data_batch['data_samples']['support']
    return [(to_rgb(images[k][position]), samples[k][position]) for k in range(len(samples))]
