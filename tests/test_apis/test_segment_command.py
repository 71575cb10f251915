# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""demo/segment.py: what the command line means, and what it says when something is wrong."""

import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path

import api_toys as toys
import pytest
from PIL import Image

from mmfss.apis import FewShotInferencer, RegisteredClass

REPO = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def segment():
    spec = importlib.util.spec_from_file_location('segment', REPO / 'demo' / 'segment.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules['segment'] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules['segment']


@pytest.fixture
def place(tmp_path, weights, monkeypatch):
    """A working folder with a model, supports a, b and photos."""
    toys.tiny_config().dump(tmp_path / 'tiny.py')
    (tmp_path / 'tiny.pth').symlink_to(weights / 'BaseLearnerEnsemble.pth')
    for i, name in enumerate('ab'):
        toys.save(toys.photo(i), tmp_path / f'{name}.jpg')
        toys.save(toys.disc(radius=15 + 8 * i).astype('uint8') * 255, tmp_path / f'{name}.png')
    toys.photos(tmp_path / 'photos', 3)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_class(segment, place, capsys):
    arguments = 'tiny.py tiny.pth photos --support a.jpg a.png --support b.jpg b.png --device cpu'
    assert segment.main(shlex.split(f'{arguments} --out out --name gear')) == 0
    printed = capsys.readouterr().out
    assert '3 images segmented' in printed and Path(re.search(r'overlay: (.*)', printed)[1]).is_file()
    found = json.loads((place / 'out/annotations.json').read_text())
    assert found['categories'] == [dict(id=1, name='gear')] and len(found['images']) == 3
    inferencer = FewShotInferencer(toys.tiny_config(), 'tiny.pth', 'cpu', show_progress=False)
    gear = inferencer.register('gear', ['a.jpg', 'b.jpg'], ['a.png', 'b.png'])
    for result in inferencer('photos', gear):
        assert (result.mask == Image.open(place / f'out/masks/{result.name}.png')).all()
    assert segment.main(shlex.split(f'{arguments} --out out --name gear --skip-existing')) == 0
    assert '0 images segmented' in capsys.readouterr().out


def test_what_is_not_there_is_said(segment, place, capsys):
    arguments = 'tiny.py tiny.pth photos --support a.jpg a.png --device cpu --out out --name gear --min-score'
    assert segment.main(shlex.split(f'{arguments} 1 --min-area 0.99')) == 0
    assert 'not found: gear in 3 of 3' in capsys.readouterr().out
    found = json.loads((place / 'out/annotations.json').read_text())
    assert not found['annotations'] and all(image['presence']['gear'] for image in found['images'])
    assert segment.main(shlex.split(f'{arguments} 30')) == 1
    assert '`min_score` is a presence score' in capsys.readouterr().err


def test_the_order_of_arguments_is_free(segment):
    orders = (
        'tiny.py tiny.pth x.jpg y.jpg --support a.jpg a.png --out out',
        'x.jpg y.jpg --support a.jpg a.png tiny.py tiny.pth --out out',
        '--support a.jpg a.png --out out tiny.py tiny.pth x.jpg y.jpg',
    )
    parsed = [segment.parse_args(shlex.split(order)) for order in orders]
    assert all((p.config, p.checkpoint, p.queries) == ('tiny.py', 'tiny.pth', ['x.jpg', 'y.jpg']) for p in parsed)
    assert all(p.classes == parsed[0].classes for p in parsed)


def test_options_belong_to_the_class_before_them(segment):
    args = segment.parse_args(
        shlex.split(
            'm.py m.pth x.jpg --out out '
            '--class gear --support a.jpg a.png --mask-value 3 --box b.jpg 1 2 3 4 --save-bank g.pth '
            '--class wheel --polygon a.jpg "1,2 3,4 5,6" --points b.jpg "7,8" --bank nut.pth '
            '--class bolt --bank bolt.pth --support b.jpg b.png'
        )
    )
    gear, wheel, nut, bolt = args.classes
    assert (gear.name, gear.images, gear.value, gear.save) == ('gear', ['a.jpg', 'b.jpg'], 3, 'g.pth')
    assert gear.masks == ['a.png', dict(box=[1, 2, 3, 4])]
    assert wheel.masks == [dict(polygon=[(1, 2), (3, 4), (5, 6)]), dict(points=[(7, 8)])] and wheel.value is None
    assert (nut.name, nut.bank, nut.images) == (None, 'nut.pth', [])
    assert (bolt.name, bolt.bank, bolt.images) == ('bolt', 'bolt.pth', ['b.jpg'])


def test_several_classes_and_banks(segment, place, capsys):
    assert segment.main(shlex.split('tiny.py tiny.pth --class gear --support a.jpg a.png --save-bank gear.pth')) == 0
    assert "class 'gear', 1 shots" in capsys.readouterr().out
    assert (
        segment.main(
            shlex.split(
                'tiny.py tiny.pth photos/*.png --out out --bank gear.pth --support b.jpg b.png '
                '--save-bank two.pth --class wheel --box b.jpg 10 10 60 50'
            )
        )
        == 0
    )
    assert RegisteredClass.load('gear.pth').num_shots == 1 and RegisteredClass.load('two.pth').num_shots == 2
    names = [c['name'] for c in json.loads((place / 'out/annotations.json').read_text())['categories']]
    assert names == ['gear', 'wheel']


@pytest.mark.parametrize(
    'arguments, message',
    [
        ('tiny.py x.jpg --support a b --out out', 'CONFIG CHECKPOINT side by side'),
        ('tiny.py tiny.pth x.jpg --out out', 'at least one --support IMAGE MASK'),
        ('tiny.py tiny.pth x.jpg --class gear --out out', 'at least one --support IMAGE MASK'),
        ('tiny.py tiny.pth x.jpg --support a b', 'where the results go: --out DIR'),
        ('tiny.py tiny.pth --support a b --out out', 'there is nothing to do'),
        (
            'tiny.py tiny.pth x.jpg --class a --support a b --class b --support a b --name c --out out',
            'for a single class',
        ),
        ('tiny.py tiny.pth x.jpg --box a 1 2 3 four --out out', 'coordinates are numbers'),
        ('tiny.py tiny.pth x.jpg --points a 5 --mask-value x --out out', 'invalid int value'),
    ],
)
def test_wrong_usage(segment, arguments, message, capsys):
    with pytest.raises(SystemExit):
        segment.parse_args(shlex.split(arguments))
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(photos='gone.jpg'), 'no image gone.jpg'),
        (dict(mask='gone.png'), 'no mask gone.png'),
        (dict(config='lite0_pascal_1shots'), 'Near are: lite0_pascal_1shot'),
        (dict(checkpoint='gone.pth'), 'gone.pth'),
        (dict(options='--max-megapixels 0.001'), 'megapixels'),
        (dict(options='--bank tiny.pth'), 'tiny.pth is no bank'),
    ],
)
def test_what_goes_wrong_is_one_line(segment, place, change, message, capsys, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', Image.MAX_IMAGE_PIXELS)
    parts = dict(config='tiny.py', checkpoint='tiny.pth', photos='photos', mask='a.png', options='') | change
    assert (
        segment.main(
            shlex.split('{config} {checkpoint} {photos} --support a.jpg {mask} --out out {options}'.format(**parts))
        )
        == 1
    )
    error = capsys.readouterr().err
    assert error.startswith('segment.py: ') and message in error and not (place / 'out').exists()


def test_ctrl_c(segment, place, capsys, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(segment, 'run', interrupted)
    assert segment.main(shlex.split('tiny.py tiny.pth photos --support a.jpg a.png --out out')) == 130
    assert '--skip-existing goes on' in capsys.readouterr().err


def test_make_demo_runs_the_command_of_the_readme():
    def words(text: str) -> list[str]:
        command = re.search(r'demo/segment\.py quickstart/.*?--out \S+', text, re.S)[0]
        return shlex.split(command.replace('\\\n', ' '))

    makefile = (REPO / 'Makefile').read_text()
    checkpoint = re.search(r'DEMO_CHECKPOINT := (\S+)', makefile)[1]
    assert words(makefile.replace('$(DEMO_CHECKPOINT)', checkpoint)) == words((REPO / 'README.md').read_text())


def test_supports_from_annotation_tools(segment, place, capsys):
    shapes = [
        dict(label=label, points=[[x, 8], [x + 30, 40]], shape_type='rectangle')
        for label, x in (('gear', 5), ('nut', 45))
    ]
    content = dict(shapes=shapes, imagePath='a.jpg', imageHeight=60, imageWidth=80)
    (place / 'a.json').write_text(json.dumps(content))
    command = 'tiny.py tiny.pth photos --support a.jpg a.json --support b.jpg b.png --device cpu --out out'
    assert segment.main(shlex.split(command)) == 1
    assert 'a.json has objects of 2 labels: gear, nut' in capsys.readouterr().err and not (place / 'out').exists()
    assert segment.main(shlex.split(f'{command} --label nut --format labelme yolo')) == 0
    assert (place / 'out/labelme/0.json').is_file() and (place / 'out/yolo/data.yaml').is_file()
    assert len(list((place / 'out/masks').iterdir())) == 3
