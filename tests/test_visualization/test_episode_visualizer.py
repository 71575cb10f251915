# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import itertools

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmfss.registry import VISUALIZERS
from mmfss.visualization import EpisodeVisualizer, Panel, compose_sheet, overlay_mask
from mmfss.visualization.episode_visualizer import _without_padding
from mmfss.visualization.sheet import GIVEN, class_color, overlay_index_map, tile

NUMBERS = itertools.count()
META = dict(class_names=('background', 'ant', 'bee', 'cow'), base_class_ids=(1, 2))


def image(height: int = 40, width: int = 60) -> np.ndarray:
    return np.full((height, width, 3), 200, np.uint8)


def sample(height: int = 40, width: int = 60, outputs=('final', 'meta', 'base')) -> SegDataSample:
    data = torch.zeros(1, height, width, dtype=torch.long)
    data[:, 10:30, 10:30] = 1
    result = SegDataSample(gt_sem_seg=PixelData(data=data))
    for name in outputs:
        key = 'pred_sem_seg' if name == 'final' else f'pred_{name}_seg'
        result.set_field(PixelData(data=data.clone()), key)
    result.set_metainfo(
        dict(class_id=3, class_name='cow', run=0, episode=2, ori_shape=(40, 60), img_path='/x/2007_1.jpg')
    )
    return result


def visualizer(**kwargs) -> EpisodeVisualizer:
    name = f'test{next(NUMBERS)}'  # mmengine keeps one instance a name
    built = VISUALIZERS.build(dict(type='EpisodeVisualizer', name=name, height=100, **kwargs))
    built.dataset_meta = META
    return built


def panels_of(monkeypatch, *args) -> list[Panel]:
    seen = []
    monkeypatch.setattr(
        'mmfss.visualization.episode_visualizer.compose_sheet', lambda panels, *rest: seen.extend(panels)
    )
    visualizer().draw_episode(*args)
    return seen


def test_all_panels_in_order_with_iou(monkeypatch):
    panels = panels_of(monkeypatch, image(), sample(), [(image(), sample())])
    assert [p.title for p in panels] == ['Support', 'Query', 'Meta', 'Base', 'Final']
    assert [p.note for p in panels] == ['annotation', 'ground truth', 'IoU 100.0', 'base classes', 'IoU 100.0']
    assert [name for name, _ in panels[3].legend] == ['ant']


def test_missing_outputs_have_no_panel(monkeypatch):
    panels = panels_of(monkeypatch, image(), sample(outputs=('final',)))
    assert [p.title for p in panels] == ['Query', 'Final']


def test_wrong_support_class_is_named(monkeypatch):
    other = sample()
    other.set_metainfo(dict(class_id=2))
    panels = panels_of(monkeypatch, image(), sample(), [(image(), other), (image(), other)])
    assert (panels[0].title, panels[0].note) == ('Supports (K = 2)', 'of another class: bee')


@pytest.mark.parametrize('shots', [1, 2, 5, 10])
def test_sheet_of_k_shots(shots):
    sheet = visualizer().draw_episode(image(), sample(), [(image(), sample())] * shots)
    assert sheet.dtype == np.uint8 and sheet.ndim == 3
    assert 100 < sheet.shape[0] < 200 and sheet.shape[1] > 500


@pytest.mark.parametrize('count', [1, 2, 3, 5, 7, 10])
def test_tiles_fill_the_block_without_distortion(count):
    images = [np.full((40 + 7 * i, 60, 3), 10, np.uint8) for i in range(count)]
    block = tile(images, 200, 4)
    assert block.shape[0] == 200
    white = (block == 255).all(-1)
    assert white.mean() < 0.15  # only the gaps


def test_padding_and_squashing_are_undone():
    mask = np.full((50, 50), 255, np.uint8)
    mask[:32, :48] = 0
    cropped, mask = _without_padding(image(50, 50), mask, (40, 60))
    assert mask.shape == (32, 48) and cropped.shape == (32, 48, 3)
    squashed, _ = _without_padding(image(50, 50), np.zeros((50, 50)), (40, 60))
    assert squashed.shape == (50, 75, 3)


def test_overlay_tints_only_the_value_one():
    mask = np.zeros((40, 60), np.uint8)
    mask[:, :20], mask[:, 40:] = 1, 255
    drawn = overlay_mask(image(), mask, GIVEN, height=40)
    assert (drawn[20, 10] != 200).any()
    assert (drawn[20, 30] == 200).all() and (drawn[20, 50] == 200).all()


def test_class_colours_differ_and_stay():
    colors = [class_color(i) for i in range(1, 62)]
    assert len(set(colors)) == 61
    _, legend = overlay_index_map(image(), np.full((40, 60), 2), ['ant', 'bee'], height=40)
    assert legend == [('bee', class_color(2))]


def test_add_datasample_to_backend_and_file(tmp_path):
    drawer = visualizer(vis_backends=[dict(type='LocalVisBackend')], save_dir=str(tmp_path))
    drawer.add_datasample('val_x', image(), sample(), step=7)
    assert (tmp_path / 'vis_data' / 'vis_image' / 'val_x_7.png').stat().st_size > 100
    drawer.add_datasample('x', image(), sample(), out_file=str(tmp_path / 'a.png'))
    assert (tmp_path / 'a.png').stat().st_size > 100
    with pytest.raises(OSError):
        drawer.add_datasample('x', image(), sample(), out_file=str(tmp_path / 'a.png' / 'b.png'))


def test_panels_have_equal_heights():
    black = [np.zeros((h, w, 3), np.uint8) for h, w in ((40, 60), (90, 30), (10, 10))]
    sheet = compose_sheet([Panel('', [b]) for b in black], height=120)
    rows = (sheet == 0).all(-1).any(1)
    assert rows.sum() == 120


def test_several_classes_have_colours_and_a_legend(monkeypatch):
    built = VISUALIZERS.build(dict(type='NWayEpisodeVisualizer', name=f'test{next(NUMBERS)}', height=100))
    built.dataset_meta = META
    query, support = sample(outputs=('final',)), sample(outputs=())
    for found in (query, support):
        found.gt_sem_seg.data[:, :5] = 2
        found.set_metainfo(dict(way_class_ids=(3, 1), way=0))
    panels = built.episode_panels(image(), query, [(image(), support)] * 4)
    assert [p.title for p in panels] == ['Supports (2 x 2)', 'Query', 'Final']
    assert [[name for name, _ in p.legend] for p in panels[1:]] == [['cow', 'ant'], ['cow']]
    assert built.draw_episode(image(), query, [(image(), support)] * 4).ndim == 3
