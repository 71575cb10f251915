# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Annotations of tools to class folders and index masks: the same data set from every format, or nothing at all."""

import json
import multiprocessing
import os
import signal
import sys

import numpy as np
import pytest
from helpers import load_script
from PIL import Image
from tool_runs import REPO

from mmfss.datasets import FewShotSegDataset, FolderFewShotDataset
from mmfss.datasets.preparation import PreparationError
from mmfss.datasets.preparation import annotated as module
from mmfss.datasets.preparation.annotated import prepare_annotations

sys.path.insert(0, str(REPO / 'tests/test_datasets'))
import annotation_toys as toys  # noqa: E402


@pytest.fixture
def main():
    return load_script(REPO / 'tools/dataset_converters/annotations.py').main


def picture(path, value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (toys.W, toys.H), (value, 50, 50)).save(path)
    return path


def read(path):
    with Image.open(path) as image:
        return np.array(image)


@pytest.mark.parametrize('kind', toys.KINDS)
def test_class_folders_from_every_format(tmp_path, main, capsys, kind):
    source = tmp_path / 'source'
    source.mkdir()
    _, cat = toys.write(source, kind)
    images = tmp_path / 'elsewhere/photos'
    for name in 'ab':
        picture(images / f'{name}.jpg')
    main([str(source), str(tmp_path / 'out'), '--images', str(images.parent), '--workers', '0'])
    name = 'photos_a' if (tmp_path / f'out/{cat}/photos_a.png').exists() else 'a'
    assert np.array_equal(read(tmp_path / f'out/{cat}/{name}.png'), toys.CAT_MASK * 255)
    assert (tmp_path / f'out/{cat}/{name}.jpg').read_bytes() == (images / 'a.jpg').read_bytes()
    printed = capsys.readouterr().out
    assert f'{cat} {2 if "coco" in kind else 1}' in printed and ('have a box alone' in printed) == (kind == 'coco box')
    dog = 'dog' if cat == 'cat' else '7'
    dataset = FolderFewShotDataset(data_root=str(tmp_path / 'out'), novel_classes=[dog], phase='val')
    assert len(dataset) == 1


def test_index_masks(tmp_path, main, capsys):
    for name in 'ab':
        picture(tmp_path / f'images/{name}.jpg')
    (tmp_path / 'c.json').write_text(json.dumps(toys.coco('rle')))
    main([str(tmp_path / 'c.json'), str(tmp_path / 'out'), '--layout', 'masks', '--images', str(tmp_path / 'images')])
    assert (tmp_path / 'out/classes.txt').read_text() == 'background\ncat\ndog\n'
    assert "classes = ('background', 'cat', 'dog')" in capsys.readouterr().out
    assert np.array_equal(read(tmp_path / 'out/masks/a.png'), toys.CAT_MASK + 2 * toys.DOG_MASK)
    assert read(tmp_path / 'out/masks/b.png').sum() == 100
    dataset = FewShotSegDataset(
        data_root=str(tmp_path),
        data_prefix=dict(img_path='images', seg_map_path='out/masks'),
        metainfo=dict(classes=('background', 'cat', 'dog')),
        novel_classes=['dog'],
        phase='val',
        candidate_area=1,
    )
    assert len(dataset) == 1
    main(
        [
            *(str(tmp_path / name) for name in ('c.json', 'two')),
            *('--layout', 'masks', '--images', str(tmp_path / 'images'), '--labels', 'dog', '--workers', '0'),
        ]
    )
    assert read(tmp_path / 'two/masks/a.png').sum() == 80
    printed = capsys.readouterr().out
    assert '1 images show none' in printed and '1 labels were not asked for: cat' in printed


def test_labelme_beside_images(tmp_path, main, capsys):
    for folder, kind in (('x', '.jpg'), ('y', '.png')):
        picture(tmp_path / f'photos/{folder}/a{kind}')
        (tmp_path / f'photos/{folder}/a.json').write_text(json.dumps(toys.labelme(imagePath=f'a{kind}')))
    (tmp_path / 'photos/readme.md').write_text('x')
    (tmp_path / 'photos/.hidden.json').write_text('x')
    main([str(tmp_path / 'photos'), str(tmp_path / 'out'), '--workers', '0'])
    assert sorted(p.name for p in (tmp_path / 'out/cat').iterdir()) == ['x_a.jpg', 'x_a.png', 'y_a.jpg', 'y_a.png']
    printed = capsys.readouterr().out
    assert (
        '1 images were saved as JPEG' in printed
        and '1 files are no annotations and were not read: readme.md' in printed
    )


def test_yolo_folders_side_by_side(tmp_path):
    for split in ('train', 'val'):
        picture(tmp_path / f'images/{split}/a.jpg')
        (tmp_path / f'labels/{split}').mkdir(parents=True)
        (tmp_path / f'labels/{split}/a.txt').write_text(toys.yolo() if split == 'train' else '')
    (tmp_path / 'data.yaml').write_text('names: [cat, dog]')
    made = prepare_annotations(tmp_path, tmp_path / 'out', layout='masks', workers=0)
    assert made.images == dict(cat=1, dog=1)
    assert (
        read(tmp_path / 'out/masks/images/train/a.png').any()
        and not read(tmp_path / 'out/masks/images/val/a.png').any()
    )


def shape(**fields):
    return {**toys.labelme_shape('polygon', 'cat', toys.CAT[0]), **fields}


@pytest.mark.parametrize(
    'content, message',
    [
        (toys.labelme(imageWidth=61), r'a\.json was made for an image of 61x40 pixels, .*a\.jpg is 60x40'),
        (toys.labelme(imagePath='b.jpg'), r'not in .*: b\.jpg.*--images DIR'),
        (toys.labelme(shapes=[shape(shape_type='linestrip')]), r'shape 1 \(label cat\) of .*no area.*--skip'),
        (toys.labelme(shapes=[shape(points=[[1, 1], [5, 1e9], [6, 6]])]), 'far outside'),
        (toys.labelme(shapes=[]), 'has not any object'),
        (toys.labelme(shapes=[shape(label='background')]), "label 'background' cannot be a class folder"),
        (toys.labelme(shapes=[shape(label='..')]), 'cannot be a class folder'),
        (toys.labelme(shapes=[shape(label='a/b'), shape(label='a:b')]), "it and 'a:b' need the same folder"),
        (dict(x=1), r'a\.json is an object of x'),
    ],
)
def test_all_or_nothing(tmp_path, main, content, message):
    for name in 'ac':
        picture(tmp_path / f'photos/{name}.jpg')
    (tmp_path / 'photos/a.json').write_text(json.dumps(content))
    (tmp_path / 'photos/c.json').write_text(json.dumps(toys.labelme(imagePath='c.jpg', shapes=[])))
    with pytest.raises(SystemExit, match=f'annotations: .*{message}'):
        main([str(tmp_path / 'photos'), str(tmp_path / 'out'), '--workers', '0'])
    assert sorted(path.name for path in tmp_path.iterdir()) == ['photos']


def test_skip_and_broken_images(tmp_path, main, capsys):
    for name in 'ab':
        picture(tmp_path / f'{name}.png')
        (tmp_path / f'{name}.json').write_text(json.dumps(toys.labelme(imagePath=f'{name}.png')))
    whole = picture(tmp_path / 'c.bmp').read_bytes()
    (tmp_path / 'c.bmp').write_bytes(whole[:-400])
    (tmp_path / 'c.json').write_text(json.dumps(toys.labelme(imagePath='c.bmp')))
    arguments = [str(tmp_path), str(tmp_path / 'out'), '--workers', '0']
    with pytest.raises(SystemExit, match=r'1 of 3 images cannot be converted.*c\.bmp cannot be decoded'):
        main(arguments)
    (tmp_path / 'b.png').unlink()
    with pytest.raises(SystemExit, match=r'1 annotated images are not in .*: b\.png.*--images DIR'):
        main(arguments)
    main([*arguments, '--skip'])
    assert '2 images were left out, the first: the image b.png of ' in capsys.readouterr().out
    assert len(list((tmp_path / 'out/cat').iterdir())) == 2
    with pytest.raises(SystemExit, match='exists and is not empty'):
        main(arguments)


def test_what_else_is_said(tmp_path):
    with pytest.raises(PreparationError, match='nothing does not exist'):
        prepare_annotations(tmp_path / 'nothing', tmp_path / 'out')
    picture(tmp_path / 'a.jpg')
    with pytest.raises(PreparationError, match='holds no annotation.*--images DIR'):
        prepare_annotations(tmp_path, tmp_path / 'out')
    (tmp_path / 'a.json').write_text(json.dumps(toys.labelme()))
    with pytest.raises(PreparationError, match="has not the label 'cow'; its labels are cat, dog"):
        prepare_annotations(tmp_path, tmp_path / 'out', labels=['cow'])
    for folder in 'xy':
        picture(tmp_path / f'images/{folder}/b.jpg')
    (tmp_path / 'a.json').write_text(json.dumps(toys.coco(names=('a.jpg', 'b.jpg'))))
    with pytest.raises(PreparationError, match=r'b\.jpg of .*a\.json may be 2 files'):
        prepare_annotations(tmp_path, tmp_path / 'out')


@pytest.mark.timeout(60)
def test_a_killed_worker_leaves_nothing(tmp_path, main, monkeypatch):
    for name in 'abc':
        picture(tmp_path / f'photos/{name}.jpg')
        (tmp_path / f'photos/{name}.json').write_text(json.dumps(toys.labelme(imagePath=f'{name}.jpg')))
    plain, fork = module.atomic_path, multiprocessing.get_context('fork')

    def killed(path, **options):
        if path.name == 'b.png':
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(path, **options)

    monkeypatch.setattr(module, 'atomic_path', killed)  # the processes are forks of this one
    monkeypatch.setattr(multiprocessing, 'get_context', lambda: fork)
    with pytest.raises(SystemExit, match=r'SIGKILL.*photos/b\.jpg.*Nothing was written'):
        main([str(tmp_path / 'photos'), str(tmp_path / 'out'), '--workers', '2'])
    assert sorted(path.name for path in tmp_path.iterdir()) == ['photos']
