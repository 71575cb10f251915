# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Pictures of a result file."""

from pathlib import Path

import numpy as np
import pytest
from helpers import load_script
from PIL import Image

from mmfss.evaluation import summarise, write_report

PATH = Path(__file__).parents[2] / 'tools' / 'analysis_tools' / 'analyze_results.py'
META = dict(
    class_names=('background', 'ant', 'bee', 'cow'),
    eval_class_ids=(1, 2, 3),
    fold=0,
    shots=1,
    protocol='balanced',
    episodes_hash='f00',
    support_control=None,
)


@pytest.fixture(scope='module')
def tool():
    return load_script(PATH)


@pytest.fixture
def file(tmp_path):
    """Four episodes of 1,000 pixels: 5 and 300 of them foreground, half of it found; cows are never drawn."""
    rows = [
        dict(
            run=0,
            episode=e,
            class_id=1 + e % 2,
            query=f'q{e}',
            supports=[],
            counts={
                'final': np.array([1000 - size, 0, size // 2, size - size // 2]),
                'all-foreground': np.array([0, 1000 - size, 0, size]),
            },
        )
        for e, size in enumerate((4, 300, 4, 300))
    ]
    path = tmp_path / 'results_balanced.json'
    write_report({'config': 'msanet', **summarise(rows, META, 0)}, str(path))
    return path


def test_two_pictures_and_a_table(tool, file, capsys):
    assert tool.main([str(file)]) == 0
    out = capsys.readouterr().out
    for name in ('classes', 'size'):
        picture = file.parent / f'results_balanced_{name}.png'
        assert str(picture) in out
        assert np.asarray(Image.open(picture).convert('RGB')).std() > 10
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in out.splitlines() if line.startswith('|')]
    assert rows[1:] == [['0% to 1%', '2', '50.0', '0.4'], ['20% to 40%', '2', '50.0', '30.0']]


def test_every_group_is_inside_the_picture(tool, tmp_path):
    rows = [
        dict(
            run=0,
            episode=e,
            class_id=1,
            query=f'q{e}',
            supports=[],
            counts={'final': np.array([1000 - size, 0, 0, size])},
        )
        for e, size in enumerate((8, 300))
    ]
    (axes,) = tool.draw_size({'config': 'x', **summarise(rows, META, 0)}, ['final']).axes
    points = np.concatenate([line.get_xdata() for line in axes.lines])
    assert points.min() >= axes.get_xlim()[0] and points.max() <= axes.get_xlim()[1]


def test_outputs_and_folder(tool, file, tmp_path, capsys):
    assert tool.main([str(file), '--out', str(tmp_path / 'new'), '--outputs', 'final']) == 0
    assert len(list((tmp_path / 'new').iterdir())) == 2 and 'all-foreground' not in capsys.readouterr().out
    assert tool.main([str(file), '--outputs', 'meta']) == 1
    assert 'no output meta; it has final, all-foreground' in capsys.readouterr().err


def test_not_a_result_file(tool, tmp_path, capsys):
    (tmp_path / 'x.json').write_text('{"format": "other"}')
    assert tool.main([str(tmp_path / 'x.json')]) == 1 and 'not a result file' in capsys.readouterr().err
