# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import json
import sys
import zipfile

import numpy as np
import pytest
import web_demo as web
import web_toys as toys
from PIL import Image
from web_demo import Limits, Session
from web_demo.images import FORMATS, box_around, limit_side, painted, parse_box, read_image, scale_box

from mmfss.visualization.sheet import class_color

BOX = (110, 70, 200, 170)  # inside the object of a toy scene


@pytest.fixture
def session():
    return Session(toys.ColorInferencer(), Limits(max_side=320))


def run(session, *files):
    return [note for note in session.segment([(path.rsplit('/', 1)[-1], path) for path in files]) if note]


def test_two_classes_a_threshold_and_a_zip(session, tmp_path):
    session.add_shot('leaf', toys.scene(), BOX)
    mask = np.zeros((240, 320), bool)
    mask[80:160, 110:200] = True
    session.add_shot('brick', toys.scene(toys.RED), mask)
    large = toys.write(tmp_path / 'large.png', toys.RED, (480, 640), (200, 120, 440, 360))
    assert run(session, toys.write(tmp_path / 'a.png'), large) == []

    (first, said), (second, also) = session.overlays(0.5)
    assert first.shape == second.shape == (480, 640, 3)  # shown enlarged
    assert said == 'a.png: leaf 18.8% (presence leaf 0.50, brick 0.50)'
    assert also == 'large.png: brick 18.8% (presence leaf 0.50, brick 0.50)'
    np.testing.assert_allclose(first[:60, :60].mean((0, 1)), 128, atol=2)
    tinted = 0.4 * np.array(toys.GREEN) + 0.6 * np.array(class_color(1))
    np.testing.assert_allclose(first[200:280, 280:360].mean((0, 1)), tinted, atol=2)

    passes = session.inferencer.passes
    assert [text for _, text in session.overlays(0.9)] == [
        f'{name}.png: nothing found (presence leaf 0.50, brick 0.50)' for name in ('a', 'large')
    ]
    with zipfile.ZipFile(session.write_zip(0.5)) as archive:
        assert sorted(archive.namelist()) == [
            'classes.json',
            'masks/a.png',
            'masks/large.png',
            'overlays/a.jpg',
            'overlays/large.jpg',
        ]
        values = np.asarray(Image.open(archive.open('masks/large.png')))
        assert json.loads(archive.read('classes.json')) == dict(threshold=0.5, classes={'1': 'leaf', '2': 'brick'})
    truth = np.zeros((480, 640), np.uint8)  # at the size of the upload
    truth[120:360, 200:440] = 2
    assert (values == truth).mean() > 0.995 and set(np.unique(values)) == {0, 2}
    assert session.inferencer.passes == passes == 2  # neither threshold nor download ran the model


def test_shots_add_up_and_a_removed_class_gives_its_colour_back(session, tmp_path):
    session.add_shot('leaf', toys.scene(), BOX)
    first = session.classes['leaf'].registered
    session.add_shot(' leaf ', toys.scene((60, 200, 90)), BOX)
    assert len(session.classes['leaf'].images) == 2 and not np.allclose(session.classes['leaf'].registered[1], first[1])
    session.add_shot('brick', toys.scene(toys.RED), BOX)
    run(session, toys.write(tmp_path / 'a.png', toys.RED))
    session.remove('leaf')
    assert 'brick' in session.overlays(0.5)[0][1]  # results keep the classes they were made with
    assert session.classes['brick'].color == 2  # and classes their colours
    assert session.add_shot('sky', toys.scene((20, 20, 220)), BOX).color == 1


def test_large_examples_are_reduced_with_their_annotation(session):
    image = toys.scene(size=(960, 1280), box=(400, 240, 880, 720))
    line = np.zeros((960, 1280), bool)
    line[400:402, 420:860] = True
    session.add_shot('leaf', image, line)
    session.add_shot('leaf', image, (400, 240, 880, 720))
    known = session.classes['leaf']
    assert [i.shape for i in known.images] == [(240, 320, 3)] * 2
    assert known.annotations[0].any()  # a thin line did not vanish
    assert known.annotations[1] == dict(box=(100, 60, 220, 180))


@pytest.mark.parametrize(
    'name, annotation, message',
    [
        ('', BOX, 'name'),
        ('x' * 41, BOX, '1 to 40'),
        ('leaf', np.zeros((240, 320), bool), 'Nothing is marked'),
    ],
)
def test_what_will_not_do_changes_nothing(session, name, annotation, message):
    with pytest.raises(ValueError, match=message):
        session.add_shot(name, toys.scene(), annotation)
    assert not session.classes


def test_a_refused_shot_leaves_the_class_as_it_was(session, monkeypatch):
    session.add_shot('leaf', toys.scene(), BOX)
    monkeypatch.setattr(session.inferencer, 'register', lambda *_: (_ for _ in ()).throw(ValueError('no')))
    with pytest.raises(ValueError, match='no'):
        session.add_shot('leaf', toys.scene(), BOX)
    assert len(session.classes['leaf'].images) == 1


def test_limits_and_missing_things_are_said(tmp_path):
    session = Session(toys.ColorInferencer(), Limits(max_queries=1, max_classes=1, max_shots=1))
    picture = toys.write(tmp_path / 'a.png')
    with pytest.raises(ValueError, match='a class first'):
        run(session, picture)
    with pytest.raises(ValueError, match='nothing to download'):
        session.write_zip(0.5)
    with pytest.raises(ValueError, match='Choose the class'):
        session.remove(None)
    session.add_shot('leaf', toys.scene(), BOX)
    with pytest.raises(ValueError, match='1 shots already'):
        session.add_shot('leaf', toys.scene(), BOX)
    with pytest.raises(ValueError, match='1 classes are the most'):
        session.add_shot('brick', toys.scene(), BOX)
    with pytest.raises(ValueError, match='Drop the images'):
        run(session)
    with pytest.raises(ValueError, match='2 images are too many'):
        run(session, picture, picture)


def test_a_broken_file_costs_only_itself(session, tmp_path):
    session.add_shot('leaf', toys.scene(), BOX)
    broken = tmp_path / 'broken.jpg'
    broken.write_bytes(b'no image')
    notes = run(session, str(broken), toys.write(tmp_path / 'a.png'))
    assert len(notes) == 1 and 'broken.jpg cannot be read' in notes[0]
    assert [text.split(':')[0] for _, text in session.overlays(0.5)] == ['a.png']
    with pytest.raises(ValueError, match=r'broken\.jpg cannot be read'):
        run(session, str(broken))
    assert len(session.results) == 1  # the earlier ones are still there


def test_a_failing_model_leaves_what_it_finished(session, tmp_path, monkeypatch):
    session.add_shot('leaf', toys.scene(), BOX)

    def stream(images, registered, batch_size):
        yield from toys.ColorInferencer().stream(images[:1], registered)
        raise RuntimeError('out of memory')

    monkeypatch.setattr(session.inferencer, 'stream', stream)
    with pytest.raises(RuntimeError):
        run(session, toys.write(tmp_path / 'a.png'), toys.write(tmp_path / 'b.png'))
    assert [kept.name for kept in session.results] == ['a.png'] and not session.lock.locked()


def test_names_in_the_archive_are_safe_and_differ(session, tmp_path):
    session.add_shot('leaf', toys.scene(), BOX)
    path = toys.write(tmp_path / 'a.png')
    list(session.segment([('../x y.png', path), ('x_y.jpg', path), ('...png', path)]))
    with zipfile.ZipFile(session.write_zip(0.5)) as archive:
        names = [name for name in archive.namelist() if name.startswith('masks')]
    assert names == ['masks/x_y.png', 'masks/x_y_2.png', 'masks/image.png']


def test_images_are_read_upright_and_bounded(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    path = tmp_path / 'turned.jpg'
    Image.fromarray(toys.scene()).save(path, exif=exif)
    assert read_image(path, 'turned.jpg', 10**6).shape == (320, 240, 3)
    with pytest.raises(ValueError, match='turned.jpg has 320 x 240 pixels; at most 0.05 million'):
        read_image(path, 'turned.jpg', 50_000)
    cut = tmp_path / 'cut.png'
    cut.write_bytes((tmp_path / 'turned.jpg').read_bytes()[:900])
    with pytest.raises(ValueError, match='cut.png cannot be read'):
        read_image(cut, 'cut.png', 10**6)
    page = tmp_path / 'page.eps'  # Pillow would start another program for it
    Image.fromarray(toys.scene()).save(page)
    assert 'EPS' not in FORMATS
    with pytest.raises(ValueError, match='cannot be read'):
        read_image(page, 'page.eps', 10**6)


def test_strokes_and_boxes():
    layer = Image.new('RGBA', (640, 480))
    layer.paste((0, 120, 230, 153), (200, 120, 440, 360))  # a see-through brush
    mask = painted([layer, None], (240, 320))  # the image was shown enlarged
    assert box_around(mask) == (100, 60, 220, 180) and mask.sum() == 120 * 120
    assert not painted([Image.new('RGBA', (320, 240))], (240, 320)).any()
    assert box_around(np.zeros((4, 4), bool)) is None
    assert parse_box('[40, 30; 200 1e9]', (240, 320)) == (40, 30, 200, 240)
    for text in ('40, 30, 200', 'a b c d', '40 30 nan 50', '1 1 inf 90'):
        with pytest.raises(ValueError, match='four numbers'):
            parse_box(text, (240, 320))
    for text, reason in (('0.1 0.1 0.9 0.9', 'shares of the size'), ('40 30 20 10', 'swapped')):
        with pytest.raises(ValueError, match=reason):
            parse_box(text, (240, 320))
    with pytest.raises(ValueError, match='no part of the image of 320 x 240'):
        parse_box('400, 30, 500, 60', (240, 320))
    assert scale_box((10, 10, 11, 11), (240, 320), (24, 32)) == (1, 1, 2, 2)
    assert limit_side(np.zeros((30, 60, 3), np.uint8), 100, 80).shape == (40, 80, 3)
    assert limit_side(np.zeros((300, 600, 3), np.uint8), 100).shape == (50, 100, 3)


def test_without_gradio_the_command_that_installs_it_is_said(monkeypatch):
    for name in [name for name in sys.modules if name.startswith(('web_demo.page', 'web_demo.server'))]:
        monkeypatch.delitem(sys.modules, name)
    for name in ('page', 'server'):
        monkeypatch.delattr(web, name, raising=False)
    monkeypatch.setitem(sys.modules, 'gradio', None)
    with pytest.raises(ImportError, match=r'pip install -r requirements/demo\.txt'):
        _ = web.build_app
    with pytest.raises(AttributeError):
        _ = web.other
