# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""tools/analysis_tools/presence_benchmark.py on a folder of two classes, by hand."""

import json
from pathlib import Path

import api_toys as toys
import numpy as np
import pytest
from helpers import load_script
from PIL import Image

from mmfss.evaluation import auroc

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def tool():
    return load_script(ROOT / 'tools/analysis_tools/presence_benchmark.py')


@pytest.fixture
def folder(tmp_path):
    """Classes ant, of green squares, and bee, of red ones, four images each, and cow with one image alone."""
    rng = np.random.default_rng(0)
    for name, number, color in (('ant', 4, (20, 200, 20)), ('bee', 4, (200, 20, 20)), ('cow', 1, (0, 0, 0))):
        (tmp_path / 'data' / name).mkdir(parents=True)
        for i in range(number):
            image = rng.integers(90, 160, (60, 70, 3)).astype(np.uint8)
            mask = np.zeros((60, 70), np.uint8)
            mask[10 + i : 40 + i, 20:50] = 255
            image[mask > 0] = color
            Image.fromarray(image).save(tmp_path / f'data/{name}/{i}.jpg')
            Image.fromarray(mask).save(tmp_path / f'data/{name}/{i}.png')
    return tmp_path / 'data'


def test_rows_and_their_summary(tool, folder, weights, tmp_path, capsys):
    toys.tiny_config().dump(tmp_path / 'tiny.py')
    model = [str(tmp_path / 'tiny.py'), str(weights / 'BaseLearnerEnsemble.pth')]
    out = tmp_path / 'out'
    options = ['--folder', str(folder), '--queries', '2', '--device', 'cpu', '--out', str(out)]
    assert tool.main([*model, *options]) == 0
    report = json.loads((out / 'presence.json').read_text())['outputs']
    assert (
        {'final', 'meta'} <= report.keys() and 'base' not in report and report['final']['images'] == 2 * (2 + 2)
    )  # cow has one image
    found = report['final']
    assert 0 <= found['AUROC']['presence'] <= 1 and found['mean_class_AUROC'].keys() == found['AUROC'].keys()
    assert [level['min_score'] for level in found['min_score']] == list(tool.MIN_SCORES)
    kept = [level['TPR'] for level in found['min_score']]
    assert kept == sorted(kept, reverse=True) and found['min_score'][0]['mIoU'] <= found['mIoU'] + 1e-9
    assert (out / 'presence.md').read_text() in capsys.readouterr().out


def test_measures_of_rows_by_hand(tool):
    def row(name, present, presence, area, counts):
        scores = {'presence': presence, 'max probability': 0.5, 'mean probability': area}
        return dict(name=name, present=present, area=area, counts=counts, **scores)

    rows = [
        row('ant', True, 0.9, 0.4, [50, 10, 10, 30]),
        row('ant', True, 0.1, 0.3, [60, 10, 10, 20]),
        row('ant', False, 0.4, 0.2, [80, 20, 0, 0]),
        row('bee', True, 0.8, 0.1, [90, 0, 0, 10]),
        row('bee', False, 0.05, 0.0, [100, 0, 0, 0]),
    ]
    found = tool.summarise(rows)
    present = [True, True, False, True, False]
    assert found['AUROC']['presence'] == auroc([0.9, 0.1, 0.4, 0.8, 0.05], present) == pytest.approx(5 / 6)
    assert found['AUROC']['max probability'] == 0.5 and found['mean_class_AUROC']['presence'] == 0.75
    assert found['false_positive_area'] == pytest.approx(10) and found['marked_without_object'] == 50
    assert found['mIoU'] == pytest.approx(100 * (50 / 90 + 1) / 2)
    level = next(level for level in found['min_score'] if level['min_score'] == 0.3)
    assert level['TPR'] == pytest.approx(200 / 3) and level['FPR'] == 50
    assert level['mIoU'] == pytest.approx(100 * (30 / 80 + 1) / 2)


def test_queries_without_the_class(tool, folder):
    args, _ = tool.parse_args(['prototype/lite0_pascal', 'none', '--folder', str(folder), '--queries', '3'])
    data, class_ids = tool.load_images(None, str(folder))
    assert class_ids == (1, 2, 3)
    with pytest.raises(FileNotFoundError, match='--folder'):
        tool.load_images(None, str(folder / 'gone'))
    for class_id, name in enumerate(('ant', 'bee'), 1):
        drawn = tool.draw(data, class_id, args, 0)
        assert all(data.name(i).startswith(name) for i in (*drawn['supports'], *drawn['present']))
        assert len(drawn['supports']) == 1 and not set(drawn['supports']) & set(drawn['present'])
        assert len(drawn['absent']) == 3 and not any(data.name(i).startswith(name) for i in drawn['absent'])
        assert drawn == tool.draw(data, class_id, args, 0) != tool.draw(data, class_id, args, 1)
    assert tool.draw(data, 3, args, 0) == {}
