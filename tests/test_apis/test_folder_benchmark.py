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
from mmfss.apis.folder_classes import draw_supports, wrong_class

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


def test_methods_draws_and_wrong_supports(tool, data, model, weights, tmp_path):
    toys.floor_config(weights).dump(tmp_path / 'floor.py')
    out = tmp_path / 'out'
    floor = str(tmp_path / 'floor.py')
    options = ['--shots', '1', '--draws', '2', '--floor', floor, '--wrong-supports', '--out', str(out)]
    assert tool.main([*model, '--data-root', str(data), *options]) == 0
    report = json.loads((out / 'benchmark.json').read_text())
    first, last = report['methods'].values()
    assert first['shots'] == report['shots'] and last['checkpoint'] == 'none'
    found, floors = first['shots']['1'], last['shots']['1']
    for row, floor_row in zip(found['per_class'], floors['per_class'], strict=True):
        assert row['name'] == floor_row['name'] and len(row['IoU_of_draws']) == 2
        assert row['IoU'] == pytest.approx(np.mean(row['IoU_of_draws']))
        assert 0 <= row['wrong_supports_IoU'] <= 100 and 0 <= row['presence_AUROC'] <= 1
        assert (row['name'] in found['below_floor']) == (row['IoU'] < floor_row['IoU'] - 3)
    assert 'below_floor' not in floors
    assert found['mIoU'] == pytest.approx(np.mean([row['IoU'] for row in found['per_class']]))
    assert found['worst_IoU'] == min(row['IoU'] for row in found['per_class'])
    table = (out / 'benchmark.md').read_text()
    assert '| method | shots | mIoU |' in table and f'{found["mIoU"]:.1f} ± {found["mIoU_std"]:.1f}' in table


def test_draws_depend_on_name_and_number_alone():
    pairs = [(Path(f'{i}.jpg'), Path(f'{i}.png')) for i in range(10)]
    assert draw_supports('ant', pairs, 2, 0) == (pairs[:2], pairs[2:])
    three, rest = draw_supports('ant', pairs, 3, 1)
    assert draw_supports('ant', pairs, 2, 1)[0] == three[:2] and sorted([*three, *rest]) == pairs
    assert draw_supports('ant', pairs, 3, 2)[0] != three and draw_supports('bee', pairs, 3, 1)[0] != three
    assert wrong_class('ant', ['ant', 'bee', 'cat'], 0) in ('bee', 'cat')
    with pytest.raises(ValueError, match='ant is the only class'):
        wrong_class('ant', ['ant'], 0)
