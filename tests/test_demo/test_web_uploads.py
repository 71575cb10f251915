# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Annotation files dropped beside images: what they mark is painted, and no more is said of the machine than needed."""

import json

import numpy as np
import pytest
import web_toys as toys
from PIL import Image
from web_demo import Limits, Session
from web_demo.images import limit_side, marked_layer, painted
from web_demo.uploads import find_mark, sort_uploads

BOX = (110, 70, 200, 170)
SIZE = (240, 320)


def labelme(*labels, name='a.png', **fields):
    x1, y1, x2, y2 = BOX
    shapes = [dict(label=label, points=[[x1, y1], [x2, y2]], shape_type='rectangle') for label in labels]
    return dict(shapes=shapes, imagePath=name, imageHeight=SIZE[0], imageWidth=SIZE[1]) | fields


def drop(folder, **contents):
    """Uploads lie in folders of their own, as gradio keeps them."""
    paths = []
    for i, (name, content) in enumerate(contents.items()):
        place = folder / str(i) / name.replace('_', '.')
        place.parent.mkdir(parents=True)
        place.write_text(content if isinstance(content, str) else json.dumps(content))
        paths.append(str(place))
    return paths


def region():
    mask = np.zeros(SIZE, bool)
    mask[BOX[1] : BOX[3], BOX[0] : BOX[2]] = True
    return mask


def test_a_file_marks_its_image(tmp_path):
    images, files, notes = sort_uploads(['x/a.png', *drop(tmp_path, a_json=labelme('leaf'))])
    assert images == ['x/a.png'] and notes == []
    mask, note = find_mark(files, 'a.png', SIZE, '')
    assert np.array_equal(mask, region()) and not note
    assert find_mark(files, 'b.png', SIZE, '') == (None, '')  # it belongs to another image


def test_several_labels_and_other_sizes_are_told(tmp_path):
    _, files, _ = sort_uploads(drop(tmp_path, a_json=labelme('leaf', 'brick')))
    mask, note = find_mark(files, 'a.png', SIZE, 'wheel')
    assert mask is None and note.startswith('a.json marks leaf, brick on a.png. Type the one')
    assert find_mark(files, 'a.png', SIZE, 'brick')[0].any()
    mask, note = find_mark(files, 'a.png', (240, 321), 'leaf')
    assert mask is None and note.startswith('a.json was made for an image of 320x240 pixels, a.png is 321x240')
    _, files, _ = sort_uploads(drop(tmp_path / 'empty', a_json=labelme()))
    assert 'marks nothing' in find_mark(files, 'a.png', SIZE, '')[1]


def test_yolo_takes_uploaded_names_only(tmp_path):
    lines = '0 0.5 0.5 0.25 0.25\n'
    (tmp_path / 'classes.txt').write_text('secret\n')  # of somebody else, above the uploads
    _, files, _ = sort_uploads(drop(tmp_path / 'one', a_txt=lines))
    assert files[0].labels == ('0',)
    _, files, _ = sort_uploads(drop(tmp_path / 'two', a_txt=lines, data_yaml='names: [leaf]'))
    assert files[0].labels == ('leaf',) and find_mark(files, 'a.jpg', SIZE, '')[0].sum() == 60 * 80


@pytest.mark.parametrize(
    'name, content', [('a_json', '{"shapes": ['), ('a_xml', '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'), ('a_npy', 'x')]
)
def test_broken_files_are_told_by_name_alone(tmp_path, name, content):
    images, files, notes = sort_uploads(drop(tmp_path, **{name: content}))
    assert (images, files) == ([], []) and len(notes) == 1
    assert notes[0].startswith(name.replace('_', '.')) and str(tmp_path) not in notes[0]


def test_a_layer_is_painted_back():
    for longest in (1024, 160):
        shown = limit_side(np.zeros((*SIZE, 3), np.uint8), longest, 100).shape[:2]
        layer = marked_layer(region(), shown, (0, 120, 230, 153))
        assert layer.shape == (*shown, 4)
        back = painted([Image.fromarray(layer)], SIZE)
        assert (back & region()).sum() / (back | region()).sum() > 0.97


def test_the_page_paints_what_was_dropped(tmp_path):
    pytest.importorskip('gradio', reason='needs gradio: pip install -r requirements/demo.txt')
    from web_demo import page

    session = Session(toys.ColorInferencer(), Limits())
    image = toys.write(tmp_path / 'a.png')
    *_, drawn, _ = page._load_examples(session, [image, *drop(tmp_path, a_json=labelme('leaf'))], 'leaf')
    (layer,) = drawn['layers']
    page._add_example(session, dict(drawn, layers=[Image.fromarray(layer)]), 'leaf', '', page.MASK)
    assert session.classes['leaf'].annotations[0].sum() == region().sum()
    *_, drawn, _ = page._load_examples(session, [image], 'leaf')  # the file is still known
    assert drawn['layers']
    *_, drawn, _ = page._load_examples(session, [toys.write(tmp_path / 'b.png')], 'leaf')
    assert drawn['layers'] == []
