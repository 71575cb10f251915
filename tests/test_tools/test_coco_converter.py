# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""COCO's JSON to index masks: the rules, what tools write, and what must be refused before any work."""

import json
import multiprocessing
import os
import signal

import numpy as np
import pytest
from helpers import load_script
from PIL import Image
from pycocotools import mask as coco_mask
from tool_runs import REPO

from mmfss.datasets import COCO20iDataset
from mmfss.datasets.preparation import PreparationError, paint_objects, prepare_coco
from mmfss.datasets.preparation import coco as module

SIZE = (60, 64)
fork = multiprocessing.get_context('fork')


def tool(name):
    return load_script(REPO / f'tools/dataset_converters/{name}.py')


def read(path):
    with Image.open(path) as mask:
        assert mask.mode == 'P'
        return np.array(mask)


def square(top, left, side):
    return [[left, top, left + side, top, left + side, top + side, left, top + side]]


def runs(mask):
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


@pytest.fixture
def coco(tmp_path):
    """Two images, polygons, RLE in both ways of writing it, a crowd, an image without annotation."""
    names = COCO20iDataset.METAINFO['classes'][1:]
    crowd = np.zeros(SIZE, bool)
    crowd[:, 40:] = True
    rle = runs(crowd)
    plain = dict(size=list(SIZE), counts=[40 * 60, 24 * 60])  # column after column
    content = dict(
        categories=[dict(id=3 * i + 1, name=name) for i, name in reversed(list(enumerate(names)))],
        images=[dict(id=i, file_name=f'{i:03d}.jpg', height=SIZE[0], width=SIZE[1]) for i in (1, 2)],
        annotations=[
            dict(id=1, image_id=1, category_id=1, iscrowd=0, segmentation=square(5, 5, 20)),
            dict(id=2, image_id=1, category_id=4, iscrowd=0, segmentation=square(0, 0, 45)),
            dict(id=3, image_id=1, category_id=7, iscrowd=1, segmentation=plain),
            dict(id=4, image_id=1, category_id=1, iscrowd=0, segmentation=[[1, 2, 3, 4]]),
        ],
    )
    assert np.array_equal(coco_mask.decode(rle).astype(bool), crowd)
    (tmp_path / 'annotations').mkdir()
    for phase in ('train', 'val'):
        (tmp_path / f'{phase}2014').mkdir()
        for image in content['images']:
            Image.new('RGB', SIZE[::-1]).save(tmp_path / f'{phase}2014' / image['file_name'])
        (tmp_path / f'annotations/instances_{phase}2014.json').write_text(json.dumps(content))
    return tmp_path, content


def convert(root, **kwargs):
    return prepare_coco(
        root / 'annotations/instances_val2014.json', root / 'val2014', root / 'annotations/val2014', workers=0, **kwargs
    )


def test_coco_rules(coco):
    root, _ = coco
    main = tool('coco20i').main
    options = ['--data-root', str(root), '--workers', '0']
    main(options)
    mask = read(root / 'annotations/val2014/001.png')
    assert (mask[10, 10], mask[30, 30], mask[10, 42], mask[10, 60], mask[58, 10]) == (1, 2, 2, 255, 0)
    assert not read(root / 'annotations/val2014/002.png').any()
    with pytest.raises(SystemExit, match='made with other settings .*--overwrite'):
        main([*options, '--overlap', 'last'])
    main([*options, '--overlap', 'last', '--crowd', 'object', '--overwrite'])
    mask = read(root / 'annotations/train2014/001.png')
    assert (mask[10, 10], mask[10, 42], mask[10, 60]) == (2, 3, 3)
    dataset = COCO20iDataset(data_root=str(root), phase='val', fold=1, candidate_area=100)
    assert len(dataset) == 1


def test_coco_goes_on_after_a_kill(coco):
    root, _ = coco
    convert(root)
    masks = root / 'annotations/val2014'
    before = (masks / '001.png').stat().st_mtime_ns
    (masks / '002.png').unlink()
    (masks / '.002.png.7.half').write_bytes(b'cut')  # what a kill leaves
    convert(root)
    assert sorted(path.name for path in masks.iterdir()) == ['.mmfss.json', '001.png', '002.png']
    assert (masks / '001.png').stat().st_mtime_ns == before and not read(masks / '002.png').any()


def test_paint_first_and_background():
    first = [(1, False, square(5, 5, 20)), (2, False, square(0, 0, 45)), (3, True, runs(np.ones(SIZE)))]
    mask = paint_objects(*SIZE, first, overlap='first', crowd='background')
    assert (mask[10, 10], mask[30, 30], mask[10, 60]) == (1, 2, 0)
    with pytest.raises(PreparationError, match='its size is'):
        paint_objects(50, 50, first)


@pytest.mark.parametrize(
    'change, message',
    [
        (
            lambda c: c['annotations'][0].update(segmentation=[[1, 1, 5, 1, 5, 5, 2]]),
            '1 of 4 annotations .* id 1: .*odd number of values',
        ),
        (lambda c: c['annotations'][1].pop('segmentation'), '1 of 4 annotations .* no segmentation, .* id 2'),
        (lambda c: c['annotations'][0].update(image_id=9), 'Annotation 1 .* names the image 9'),
        (lambda c: c['annotations'][0].update(category_id=2), 'Annotation 1 .* names the class 2'),
        (lambda c: c['categories'][0].update(name='dog'), 'has the class dog twice'),
        (lambda c: c['images'][1].update(file_name='404.jpg'), r'1 of 2 images .* are not in .*404\.jpg'),
        (lambda c: c['categories'].pop(), 'has 79 classes|names the class'),
        (lambda c: c.pop('images'), 'cut off or no COCO instances file'),
    ],
)
def test_coco_json_that_is_wrong(coco, change, message):
    root, content = coco
    change(content)
    (root / 'annotations/instances_val2014.json').write_text(json.dumps(content))
    with pytest.raises(PreparationError, match=message):
        convert(root, names=COCO20iDataset.METAINFO['classes'][1:])
    assert not (root / 'annotations/val2014').exists()


def convert_one(folder, segmentation, size=(40, 60), file_name='a.jpg', **fields):
    """Convert a file of one annotation and give its mask."""
    content = dict(
        categories=[dict(id=1, name='cat')],
        images=[dict(id=1, file_name=file_name, height=size[0], width=size[1])],
        annotations=[dict(id=77, image_id=1, category_id=1, segmentation=segmentation, **fields)],
    )
    (folder / 'one.json').write_text(json.dumps(content))
    prepare_coco(folder / 'one.json', None, folder / 'masks', workers=0, overwrite=True)
    return read(folder / 'masks' / file_name.replace('.jpg', '.png'))


@pytest.mark.parametrize(
    'segmentation, message',
    [
        ([[10, 10, float('nan'), 10, 30, 30]], 'nan, which is no finite number'),
        ([[10, 10, float('inf'), 10, 30, 30]], 'inf, which is no finite number'),
        ([[10, 10, 1e15, 10, 30, 30]], r'\(1e\+15, 10\) lies far outside of its image of 60x40'),
        ([[10, 10, 10**400, 10, 30, 30]], 'inf, which is no finite number'),
        ([[100, 10, 110, 10, 110, 30]], 'outside of its image of 60x40'),
        ([[10, 10, 'x', 10, 30, 30]], "'x', which is no number"),
        ([[10, 10, None, 10, 30, 30]], 'None, which is no number'),
        ([[10, 10, True, 10, 30, 30]], 'True, which is no number'),
        ([[0.1, 0.1, 0.9, 0.1, 0.9, 0.9]], 'within 0 and 1'),
        ([[10, 10, 30, 10, 30, 30], dict(size=[40, 60], counts=[2400])], 'a segmentation is a list of polygons'),
        ('10,10,30,10', 'a segmentation is a list of polygons'),
        (7, 'a segmentation is a list of polygons'),
        (dict(size=[40, 60], counts=[10, 20]), 'add up to 30 pixels, its image of 60x40 has 2400'),
        (dict(size=[40, 60], counts=[10, 20, 2371]), 'add up to 2401'),
        (dict(size=[40, 60], counts=[10, -20, 2410]), 'a run of -20'),
        (dict(size=[40, 60], counts=[10.5, 2389.5]), 'a run of 10.5'),
        (dict(size=[60, 40], counts=[2400]), 'height stands before width'),
        (dict(size=[40, 61], counts=[2440]), r'its size is \[40, 61\]'),
        (dict(size=[40, 60]), r"a dict of \['size'\]"),
        (dict(size=[40, 60], counts='abc'), 'is cut off'),
        (dict(size=[40, 60], counts='12 3'), 'other characters'),
        (dict(size=[40, 60], counts='ooooooooo0'), 'no image has pixels for|add up'),
        ([dict(size=[40, 60], counts=[10, 20])], 'add up to 30'),
    ],
)
def test_coco_segmentations_that_are_refused(tmp_path, segmentation, message):
    with pytest.raises(PreparationError, match=f'(id 77: |All coordinates).*{message}'):
        convert_one(tmp_path, segmentation)
    assert not (tmp_path / 'masks').exists()


@pytest.mark.parametrize(
    'segmentation, pixels',
    [
        ([dict(size=[40, 60], counts=[10, 20, 2370])], 20),
        ([dict(size=[40, 60], counts=[10, 20, 2370]), dict(size=[40, 60], counts=[100, 5, 2295])], 25),
        ([10, 10, 30, 10, 30, 30, 10, 30], 400),
        ([['10', '10', '30', '10', '30', '30', '10', '30']], 400),
        ([[[10, 10], [30, 10], [30, 30], [10, 30]]], 400),
        ([[10, 10], [30, 10], [30, 30], [10, 30]], 400),
        ([[-5, 10, 30, 10, 30, 30, -5, 30]], 600),
        (dict(size=[40, 60], counts='X21dZ2'), 33),
    ],
)
def test_coco_segmentations_that_tools_write(tmp_path, segmentation, pixels):
    if isinstance(segmentation, dict):
        mask = (np.arange(2400) // 33 == 1).reshape(40, 60)
        segmentation = dict(size=[40, 60], counts=runs(mask)['counts'].decode())
    assert (convert_one(tmp_path, segmentation) == 1).sum() == pixels


@pytest.mark.parametrize('flag, value', [('0', 1), (0, 1), (False, 1), ('1', 255), (1, 255), ('true', 255), (None, 1)])
def test_coco_crowd_flags(tmp_path, flag, value):
    mask = convert_one(tmp_path, square(10, 10, 20), iscrowd=flag)
    assert np.unique(mask).tolist() == [0, value]
    with pytest.raises(PreparationError, match="id 77: its `iscrowd` is 'perhaps'"):
        convert_one(tmp_path, square(10, 10, 20), iscrowd='perhaps')


def test_coco_names_with_folders(tmp_path):
    content = dict(
        categories=[dict(id=1, name='cat')],
        images=[dict(id=i, file_name=f'{f}/a.jpg', height=40, width=60) for i, f in ((1, 'left'), (2, r'right\b'))],
        annotations=[dict(id=1, image_id=2, category_id=1, segmentation=square(10, 10, 20))],
    )
    for place in ('left', 'right/b'):
        (tmp_path / 'images' / place).mkdir(parents=True)
        Image.new('RGB', (60, 40)).save(tmp_path / 'images' / place / 'a.jpg')
    content['images'][1]['file_name'] = 'right\\b/a.jpg'
    (tmp_path / 'c.json').write_bytes(b'\xef\xbb\xbf' + json.dumps(content).encode())
    for _ in range(2):
        prepare_coco(tmp_path / 'c.json', tmp_path / 'images', tmp_path / 'masks', workers=0)
        found = sorted(p.relative_to(tmp_path / 'masks').as_posix() for p in (tmp_path / 'masks').rglob('*.png'))
        assert found == ['left/a.png', 'right/b/a.png'] and read(tmp_path / 'masks/right/b/a.png').sum() == 400
    # The folder that the file names was left out, and --images is the folder itself.
    del content['images'][0]
    (tmp_path / 'c.json').write_text(json.dumps(content))
    prepare_coco(tmp_path / 'c.json', tmp_path / 'images/right/b', tmp_path / 'flat', workers=0)
    assert read(tmp_path / 'flat/a.png').sum() == 400
    content['images'][0]['file_name'] = '../../a.jpg'
    (tmp_path / 'c.json').write_text(json.dumps(content))
    with pytest.raises(PreparationError, match='no file below a folder'):
        prepare_coco(tmp_path / 'c.json', None, tmp_path / 'out', workers=0)


def test_coco_too_many_classes(coco):
    root, content = coco
    content['categories'] = [dict(id=i, name=f'c{i}') for i in range(1, 256)]
    (root / 'annotations/instances_val2014.json').write_text(json.dumps(content))
    with pytest.raises(PreparationError, match='255 classes; masks of 8 bits hold 254'):
        convert(root)
    assert not (root / 'annotations/val2014').exists()


@pytest.mark.parametrize('value, pixels', [('skip', 0), ('box', 200)])
def test_coco_annotations_without_segmentation(tmp_path, capsys, value, pixels):
    content = dict(
        categories=[dict(id=1, name='cat')],
        images=[dict(id=1, file_name='a.jpg', height=40, width=60)],
        annotations=[
            dict(id=5, image_id=1, category_id=1, segmentation=[], bbox=[30, 10, 20, 10]),
            dict(id=6, image_id=1, category_id=1, segmentation=square(0, 0, 10)),
        ],
    )
    (tmp_path / 'c.json').write_text(json.dumps(content))
    options = [
        '--json',
        tmp_path / 'c.json',
        '--no-images',
        '--out',
        tmp_path / 'masks',
        '--any-classes',
        '--workers',
        0,
    ]
    main = tool('coco20i').main
    with pytest.raises(SystemExit, match='1 of 2 annotations .* no segmentation, .* id 5.*--without-segmentation skip'):
        main([str(o) for o in options])
    main([*map(str, options), '--without-segmentation', value])
    assert read(tmp_path / 'masks/a.png').sum() == 100 + pixels
    assert '1 annotations have no segmentation' in capsys.readouterr().out
    content['annotations'][0]['bbox'] = [30, 10, float('nan'), 10]
    (tmp_path / 'c.json').write_text(json.dumps(content))
    if value == 'box':
        with pytest.raises(SystemExit, match='id 5: its box holds nan'):
            main([*map(str, options), '--without-segmentation', value, '--overwrite'])


def test_coco_json_that_is_cut_off(coco):
    root, _ = coco
    file = root / 'annotations/instances_val2014.json'
    file.write_text(file.read_text()[:-100])
    with pytest.raises(PreparationError, match='cut off'):
        convert(root)


@pytest.mark.timeout(60)
def test_a_killed_worker_ends_the_conversion(coco, monkeypatch):
    root, _ = coco
    plain = module.save_index_png

    def killed(labels, path):
        if path.name == '002.png':
            (path.parent / f'.{path.name}.{os.getpid()}.half').write_bytes(b'cut')
            os.kill(os.getpid(), signal.SIGKILL)
        plain(labels, path)

    monkeypatch.setattr(module, 'save_index_png', killed)  # the processes are forks of this one
    monkeypatch.setattr(multiprocessing, 'get_context', lambda: fork)
    with pytest.raises(
        SystemExit, match=r'coco20i: .*SIGKILL.*train2014/002\.png.*--workers.*resumes where it stopped'
    ):
        tool('coco20i').main(['--data-root', str(root), '--workers', '2'])
    assert not list(root.rglob('*.half'))
    monkeypatch.setattr(module, 'save_index_png', plain)
    tool('coco20i').main(['--data-root', str(root), '--workers', '2'])
    assert len(list(root.rglob('*.png'))) == 4
