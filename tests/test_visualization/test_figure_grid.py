# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
from PIL import Image

from mmfss.visualization import Panel
from mmfss.visualization.figure_grid import check_figure_path, compose_grid, heat_map, save_figure


def plain(height: int, width: int, value: int = 0) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_rows_of_different_shapes_stand_in_common_columns():
    rows = [
        ('ant', [Panel('Support', [plain(40, 60)]), Panel('Query', [plain(60, 40)])]),
        ('bee', [Panel('Support', [plain(40, 40)]), Panel('Query', [plain(40, 60)])]),
    ]
    black = (compose_grid(rows, 100) == 0).all(-1)
    filled = [black[:, x].sum() for x in np.flatnonzero(black.any(0))]
    assert max(filled) == 200 and black.any(1).sum() == 200  # two rows, 100 high each, nothing else is black
    assert black.any(0).sum() == 300  # two columns, as wide as their widest panel


def test_a_note_that_all_rows_share_stands_once():
    same = [('a', [Panel('X', [plain(40, 40)], note='annotation')])] * 3
    for ious in (range(3), (0, 0, 0)):  # equal numbers are no common note
        own = [('a', [Panel('X', [plain(40, 40)], note=f'IoU {iou}')]) for iou in ious]
        assert compose_grid(own, 100).shape[0] > compose_grid(same, 100).shape[0]


def test_long_labels_are_shortened_and_rows_must_agree():
    row = ('a class with a name that is far too long for the height', [Panel('X', [plain(40, 40)])])
    assert compose_grid([row], 60).shape[0] < 110
    with pytest.raises(ValueError, match='same number of panels'):
        compose_grid([row, ('b', row[1] * 2)])
    with pytest.raises(ValueError, match='no row'):
        compose_grid([])


def test_heat_goes_from_dark_to_bright():
    values = np.tile(np.linspace(-3, 5, 60), (40, 1))
    drawn = heat_map(plain(40, 60, 120), values, 40).astype(int).sum(-1)
    assert drawn.shape == (40, 60) and (np.diff(drawn[20, ::6]) > 0).all()
    assert np.isfinite(heat_map(plain(4, 4), np.zeros((2, 2)), 50)).all()  # a map without any contrast


@pytest.mark.parametrize('suffix, start', [('.png', b'\x89PNG'), ('.JPG', b'\xff\xd8'), ('.pdf', b'%PDF')])
def test_files(tmp_path, suffix, start):
    path = tmp_path / 'new' / f'figure{suffix}'
    save_figure(plain(20, 30, 200), path)
    assert path.read_bytes().startswith(start) and [p.name for p in path.parent.iterdir()] == [path.name]
    if suffix != '.pdf':
        assert Image.open(path).size == (30, 20) and round(Image.open(path).info['dpi'][0]) == 200


def test_other_files_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / 'x.gif', tmp_path / 'x'):
        with pytest.raises(ValueError, match='must end with one of .png'):
            check_figure_path(path)
