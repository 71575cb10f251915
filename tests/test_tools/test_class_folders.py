# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Folders of classes out of a benchmark."""

import numpy as np
from helpers import load_script
from PIL import Image
from tool_runs import REPO


def test_folders_of_what_pascal_does_not_have(tmp_path, capsys):
    tool = load_script(REPO / 'tools/dataset_converters/class_folders.py')
    root = tmp_path / 'coco'
    masks = {'train2014/a': {2: 200, 3: 100}, 'train2014/b': {2: 300}, 'val2014/c': {14: 5}, 'val2014/d': {14: 400}}
    for name, areas in masks.items():
        labels = np.zeros((40, 50), np.uint8)
        for number, (class_id, area) in enumerate(areas.items()):
            labels.reshape(-1)[500 * number : 500 * number + area] = class_id
        image, mask = root / f'{name}.jpg', root / f'annotations/{name}.png'
        for path in (image, mask):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(image)
        Image.fromarray(labels).save(mask)
    options = ['COCO20iDataset', '--data-root', str(root), '--min-images', '1']
    assert tool.main([*options, '--out', str(tmp_path / 'all')]) == 0
    assert '4 images of 3 classes' in capsys.readouterr().out
    found = sorted(p.relative_to(tmp_path / 'all').as_posix() for p in (tmp_path / 'all').rglob('*.png'))
    assert found == ['bench/1.png', 'bicycle/1.png', 'bicycle/2.png', 'car/1.png']
    areas = {p.parent.name: int((np.array(Image.open(p)) == 255).sum()) for p in (tmp_path / 'all').rglob('1.png')}
    assert areas['bicycle'] == 200 and areas['car'] == 100
    assert tool.main([*options, '--out', str(tmp_path / 'new'), '--without-pascal']) == 0
    assert not (tmp_path / 'new/bicycle').exists() and len(list((tmp_path / 'new').rglob('*.png'))) == 1
    assert tool.main([*options, '--out', str(tmp_path / 'new')]) == 1
    assert 'is not empty' in capsys.readouterr().err
    assert tool.main([*options, '--out', str(tmp_path / 'none'), '--min-share', '0.9']) == 1
    assert 'smaller --min-images or --min-share' in capsys.readouterr().err
