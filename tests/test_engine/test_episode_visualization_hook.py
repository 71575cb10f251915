# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import logging
from types import SimpleNamespace

import mmcv
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.structures import PixelData
from mmengine.visualization import Visualizer
from mmseg.structures import SegDataSample

from mmfss.engine import EpisodeVisualizationHook
from mmfss.visualization import EpisodeVisualizer


def labelled(size: int = 24, **meta) -> SegDataSample:
    data = torch.zeros(1, size, size, dtype=torch.long)
    data[:, 4:12, 4:12] = 1
    sample = SegDataSample(gt_sem_seg=PixelData(data=data))
    sample.set_metainfo(dict(class_id=3, ori_shape=(size, size), **meta))
    return sample


@pytest.fixture
def batch(tmp_path):
    """A collated batch of three 2-shot episodes and the model's outputs."""
    items = []
    for episode in range(3):
        path = str(tmp_path / f'2007_{episode}.png')
        mmcv.imwrite(np.full((24, 24, 3), 90, np.uint8), path)
        query = labelled(run=0, episode=episode, class_name='tv/monitor', img_path=path)
        items.append(
            dict(
                inputs=dict(
                    query=torch.zeros(3, 24, 24),
                    support=[torch.full((3, 24, 24), 10.0 * episode + k) for k in range(2)],
                ),
                data_samples=dict(query=query, support=[labelled(shot=k) for k in range(2)]),
            )
        )
    collated = pseudo_collate(items)
    outputs = [item['data_samples']['query'].clone() for item in items]
    for output in outputs:
        output.pred_sem_seg = PixelData(data=output.gt_sem_seg.data.clone())
    return collated, outputs


@pytest.fixture
def runner(tmp_path):
    visualizer = EpisodeVisualizer(
        name='hook', height=60, save_dir=str(tmp_path), vis_backends=[dict(type='LocalVisBackend')]
    )
    return SimpleNamespace(visualizer=visualizer, iter=40, logger=logging.getLogger('hook'))


def test_test_sheets_carry_their_episode_in_the_name(tmp_path, batch, runner):
    hook = EpisodeVisualizationHook(show_dir=str(tmp_path / 'show'))
    hook.before_test(runner)
    hook.after_test_iter(runner, 0, *batch)
    assert sorted(p.name for p in (tmp_path / 'show').iterdir()) == [
        f'run0_ep000{i}_tv-monitor_2007_{i}_iou100.0.png' for i in range(3)
    ]


def test_supports_are_those_of_the_sample(tmp_path, batch, runner, monkeypatch):
    seen = []
    monkeypatch.setattr(runner.visualizer, 'add_datasample', lambda *args, supports, **kwargs: seen.append(supports))
    hook = EpisodeVisualizationHook(show_dir=str(tmp_path))
    hook.after_test_iter(runner, 0, *batch)
    values = [[int(image[0, 0, 0]) for image, _ in supports] for supports in seen]
    assert values == [[0, 1], [10, 11], [20, 21]]
    assert [[s.shot for _, s in supports] for supports in seen] == [[0, 1]] * 3


def test_interval_and_limit(tmp_path, batch, runner):
    for options, expected in ((dict(interval=2), [0, 2]), (dict(max_episodes=1), [0])):
        folder = tmp_path / str(options)
        hook = EpisodeVisualizationHook(show_dir=str(folder), **options)
        hook.before_test(runner)
        hook.after_test_iter(runner, 0, *batch)
        assert sorted(int(p.name[7:11]) for p in folder.iterdir()) == expected


def test_nothing_is_drawn_without_a_folder(batch, runner, monkeypatch):
    monkeypatch.setattr(runner.visualizer, 'add_datasample', None)
    EpisodeVisualizationHook().after_test_iter(runner, 0, *batch)
    EpisodeVisualizationHook(val_interval=0).after_val_iter(runner, 0, *batch)


def test_validation_sheets_go_to_the_backends(tmp_path, batch, runner):
    EpisodeVisualizationHook(val_interval=2).after_val_iter(runner, 0, *batch)
    names = sorted(p.name for p in (tmp_path / 'vis_data' / 'vis_image').iterdir())
    assert names == [f'val_run0_ep000{i}_tv-monitor_2007_{i}_40.png' for i in (0, 2)]


def test_a_full_disk_does_not_stop_the_evaluation(tmp_path, batch, runner, monkeypatch, caplog):
    def full(*args, **kwargs):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(runner.visualizer, 'add_datasample', full)
    hook = EpisodeVisualizationHook(show_dir=str(tmp_path))
    hook.after_test_iter(runner, 0, *batch)
    hook.after_test_iter(runner, 1, *batch)
    assert caplog.text.count('No space left') <= 3 and 'the evaluation goes on' in caplog.text


def test_another_visualizer_is_refused_before_the_test(tmp_path):
    hook = EpisodeVisualizationHook(show_dir=str(tmp_path))
    with pytest.raises(TypeError, match='EpisodeVisualizer'):
        hook.before_test(SimpleNamespace(visualizer=Visualizer(name='plain')))


def test_bad_interval_is_refused():
    with pytest.raises(ValueError, match='interval'):
        EpisodeVisualizationHook(interval=0)
