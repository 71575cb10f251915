# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Results for annotation tools: what is written is read back as (nearly) the same mask, holes and specks included."""

import json

import api_toys as toys
import cv2
import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw

from mmfss.apis import FewShotInferencer
from mmfss.apis.queries import NameBook, find_queries
from mmfss.apis.results import SegmentationResult
from mmfss.apis.writer import ResultWriter
from mmfss.datasets.annotations import read_annotation
from mmfss.datasets.annotations.outlines import outlines
from mmfss.datasets.annotations.writing import labelme_text, yolo_text
from mmfss.datasets.annotations.yolo import read_yolo

ALL = ('png', 'coco', 'labelme', 'yolo')


def blobs(seed, height=90, width=120, size=9):
    noise = np.random.default_rng(seed).random((height, width))
    return cv2.GaussianBlur(noise, (size, size), size / 4) > 0.5


def iou(first, second):
    return (first & second).sum() / (first | second).sum()


RING = np.zeros((50, 70), bool)
RING[10:40, 10:60], RING[20:30, 20:30], RING[22:25, 40:50] = True, False, False
THIN = np.zeros((50, 70), bool)
THIN[5, 3:60], THIN[10:40, 7], THIN[45, 45] = True, True, True
MASKS = dict(ring=RING, thin=THIN, full=~np.zeros((9, 11), bool), corner=blobs(0)[:3, :3] | np.eye(3, dtype=bool))
MASKS |= {f'blobs{i}': blobs(i, size=5 + 8 * i) for i in range(4)}
MASKS['noise'] = np.random.default_rng(0).random((40, 50)) > 0.5


@pytest.mark.parametrize('name', MASKS)
def test_round_trip(name):
    mask = MASKS[name]
    size, labels = mask.shape, mask.astype(np.uint8)
    back = read_annotation(json.loads(labelme_text(labels, ['gear'], 'a.jpg')), 'a.jpg', size) == 1
    assert iou(back, mask) >= 0.95
    again = read_yolo(yolo_text(labels, 1), 'a.txt', ('gear',)).images[0].mask('gear', size, 'a.txt') == 1
    assert iou(again, mask) >= 0.95
    drawn = Image.new('L', size[::-1])  # as labelme fills polygons
    for outline in outlines(mask):
        ImageDraw.Draw(drawn).polygon([tuple(point) for point in outline.tolist()], fill=1)
    assert iou(np.asarray(drawn) == 1, mask) >= 0.85


def test_outlines_are_editable():
    (outline,) = outlines(toys.disc(200, 300, 80))
    assert len(outline) < 60 and outline.min() >= 0
    (outline,) = outlines(RING)
    assert len(outline) <= 4 + 2 * 6


@pytest.fixture(scope='module')
def inferencer(weights):
    return FewShotInferencer(toys.tiny_config(), weights / 'BaseLearnerEnsemble.pth', device='cpu', show_progress=False)


@pytest.fixture
def classes(inferencer):
    return [
        inferencer.register(name, toys.photo(i), toys.disc(radius=12 + 8 * i)) for i, name in enumerate(['gear', 'nut'])
    ]


def test_all_formats_are_read_back(inferencer, classes, tmp_path):
    folder, out = toys.photos(tmp_path / 'in'), tmp_path / 'out'
    results = inferencer([folder, toys.photo(9)], classes, out_dir=out, threshold=0.3, formats=ALL)
    assert yaml.safe_load((out / 'yolo/data.yaml').read_text())['names'] == {0: 'gear', 1: 'nut'}
    assert (out / 'yolo/classes.txt').read_text() == 'gear\nnut\n'
    found = 0
    for result in results:
        files = dict(labelme=f'labelme/{result.name}.json', yolo=f'yolo/labels/{result.name}.txt')
        files |= dict(coco='annotations.json', png=f'masks/{result.name}.png')
        for index, name in enumerate(('gear', 'nut'), 1):
            wanted = result.mask == index
            for tool, file in files.items():
                if not wanted.any():
                    continue
                label = name if tool != 'png' else str(index)
                back = read_annotation(out / file, result.source or f'{result.name}.png', wanted.shape, label) == 1
                assert iou(back, wanted) >= (0.95 if tool in ('labelme', 'yolo') else 1)
                found += 1
        content = json.loads((out / files['labelme']).read_text())
        if result.source:
            assert (out / 'labelme' / content['imagePath']).resolve() == (folder / f'{result.name}.png').resolve()
        else:
            assert content['imageData']
    assert found > 12
    # Corrected there, an image becomes a support.
    again = read_annotation(out / 'labelme/0.json', '0.png', results[0].mask.shape, 'gear') == 1
    assert inferencer.register('x', folder / '0.png', dict(mask=out / 'labelme/0.json', label='gear')).key
    assert again.any()


def test_formats_of_choice(inferencer, classes, tmp_path):
    folder, out = toys.photos(tmp_path / 'in'), tmp_path / 'out'
    inferencer(folder, classes, out_dir=out, formats=['labelme'])
    assert not (out / 'annotations.json').exists() and len(list((out / 'labelme').iterdir())) == 3
    assert inferencer(folder, classes, out_dir=out, formats=['labelme'], skip_existing=True) == []
    assert len(inferencer(folder, classes, out_dir=out, formats=['yolo'], skip_existing=True)) == 3
    with pytest.raises(ValueError, match="no format 'voc'; there are png, coco, labelme, yolo"):
        inferencer(folder, classes, out_dir=out, formats=['voc'])


def test_an_image_without_objects_is_an_empty_file(tmp_path):
    (source,) = find_queries(toys.photo(0), NameBook({}))
    (query,) = source
    shape = (60, 80)
    result = SegmentationResult('x', np.zeros(shape, np.uint8), np.zeros((1, *shape)), ('gear',), toys.photo(0))
    with ResultWriter(tmp_path / 'out', ['gear'], '', ALL) as writer:
        writer.write(result, query)
    assert (tmp_path / 'out/yolo/labels/x.txt').read_text() == ''
    assert json.loads((tmp_path / 'out/labelme/x.json').read_text())['shapes'] == []
