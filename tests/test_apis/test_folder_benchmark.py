# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""tools/analysis_tools/folder_benchmark.py on a folder of two classes."""

import json
from pathlib import Path

import api_toys as toys
import numpy as np
import pytest
from helpers import load_script
from PIL import Image

from mmfss.apis import FewShotInferencer

PATH = Path(__file__).parents[2] / 'tools' / 'analysis_tools' / 'folder_benchmark.py'


@pytest.fixture(scope='module')
def tool():
    return load_script(PATH)


@pytest.fixture
def data(tmp_path):
    """Classes ant (12 images, numbers 1 to 12) and bee (2)."""
    for name, number in (('ant', 12), ('bee', 2)):
        for i in range(1, number + 1):
            toys.save(toys.photo(i, 50, 60 + i), tmp_path / f'data/{name}/{i}.jpg')
            toys.save(toys.disc(50, 60 + i, 10 + i).astype(np.uint8) * 255, tmp_path / f'data/{name}/{i}.png')
    return tmp_path / 'data'


@pytest.fixture
def model(tmp_path, weights):
    toys.tiny_config().dump(tmp_path / 'tiny.py')
    return [str(tmp_path / 'tiny.py'), str(weights / 'BaseLearnerEnsemble.pth'), '--device', 'cpu']


def test_all_images_of_all_classes(tool, data, model, tmp_path, capsys):
    out = tmp_path / 'out'
    assert tool.main([*model, '--data-root', str(data), '--shots', '1', '3', '--out', str(out)]) == 0
    report = json.loads((out / 'benchmark.json').read_text())
    one, three = report['shots']['1'], report['shots']['3']
    assert one['images'] == 11 + 1 and three['images'] == 9 and three['too_few_images'] == ['bee']
    assert one['images_per_second'] > 0
    # By hand: supports are 1, 2, 3 and not 1, 10, 11.
    inferencer = FewShotInferencer(model[0], model[1], 'cpu', show_progress=False)
    numbers = range(1, 4)
    ant = inferencer.register('ant', [data / f'ant/{i}.jpg' for i in numbers], [data / f'ant/{i}.png' for i in numbers])
    inter = union = truth = total = 0
    for i in range(4, 13):
        mask = inferencer(data / f'ant/{i}.jpg', ant)[0].mask == 1
        label = np.array(Image.open(data / f'ant/{i}.png')) > 0
        inter, union = inter + (mask & label).sum(), union + (mask | label).sum()
        truth, total = truth + label.sum(), total + label.size
    assert three['per_class'][0]['IoU'] == pytest.approx(100 * inter / union) and three['mIoU'] == pytest.approx(
        100 * inter / union
    )
    assert three['all_foreground'] == pytest.approx(100 * truth / total)
    background = (total - union) / (total - inter)
    assert three['FB-IoU'] == pytest.approx(50 * (inter / union + background))
    table = (out / 'benchmark.md').read_text()
    assert table in capsys.readouterr().out
    assert '| IoU, percent | 1-shot | 3-shot | all-foreground |' in table and '| images | 12 | 9 |  |' in table
    bee = [cell.strip() for cell in next(line for line in table.splitlines() if 'bee' in line).split('|')]
    assert bee[3] == '-' and 'Left out of 3-shot, which have too few images: bee.' in table


def test_refusals(tool, data, model, tmp_path, capsys):
    def says(*options):
        assert tool.main([*model, *map(str, options)]) == 1
        return capsys.readouterr().err

    assert 'set it with --data-root' in says('--data-root', tmp_path / 'gone')
    assert 'no folders with images *.tif' in says('--data-root', data, '--image-suffix', '.tif')
    assert 'has no mask' in says('--data-root', data, '--mask-suffix', '_mask.png')
    assert 'no class of' in says('--data-root', data, '--shots', '30')
    assert '14 masks hold values, but none from --mask-threshold 256' in says(
        '--data-root', data, '--mask-threshold', '256'
    )
