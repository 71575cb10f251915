# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Annotations as tools write them: read right, or refused with the file's name, the reason and the cure."""

import json
import os

import annotation_toys as toys
import numpy as np
import pytest
from PIL import Image

from mmfss.datasets.annotations import AnnotationError, is_annotation, read_annotation, read_file
from mmfss.datasets.synthetic.writer import voc_palette

SIZE = (toys.H, toys.W)


def read(path, label=None, name='a.jpg', size=SIZE):
    return read_annotation(path, name, size, label)


def put(path, content):
    """Write text, bytes or JSON."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode() if isinstance(content, str) else b'')
    if isinstance(content, (dict, list)):
        path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize('kind', toys.KINDS)
def test_every_format_gives_the_same_mask(tmp_path, kind):
    path, label = toys.write(tmp_path, kind)
    assert is_annotation(path) == (kind != 'png')
    mask = read(path, label)
    assert mask.dtype == np.uint8 and np.array_equal(mask, toys.CAT_MASK)
    assert np.array_equal(read(path, dict(cat='dog').get(label, '7')), toys.DOG_MASK)
    with pytest.raises(AnnotationError, match=rf'{path.name}.*2 labels: {label}, .*--label NAME'):
        read(path)
    with pytest.raises(AnnotationError, match=rf"{path.name}.*no object of the label 'cow'; it has {label}, "):
        read(path, 'cow')
    if kind.split()[0] != 'yolo':
        with pytest.raises(AnnotationError, match=rf'{path.name}.*(60x40.*61x41|\(40, 60\))'):
            read(path, label, size=(41, 61))


@pytest.mark.parametrize('kind', ['labelme polygon', 'coco rle', 'cvat box', 'voc'])
def test_a_turned_image_is_explained(tmp_path, kind):
    path, label = toys.write(tmp_path, kind)
    with pytest.raises(AnnotationError, match='60x40.*40x60.*EXIF'):
        read(path, label, size=SIZE[::-1])


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'latin-1', 'cp1252'])
def test_text_of_any_system(tmp_path, encoding):
    shape = toys.labelme_shape('polygon', 'Zähler', toys.CAT[0])
    text = json.dumps(toys.labelme(shapes=[shape]), ensure_ascii=False, indent=1).replace('\n', '\r\n')
    assert read(put(tmp_path / 'a.json', text.encode(encoding)), 'Zähler').sum() == 400
    xml = toys.voc().replace('cat', 'Zähler')
    if encoding != 'utf-16':
        assert read(put(tmp_path / 'a.xml', xml.encode(encoding)), 'Zähler').sum() == 600


def test_the_content_decides_not_the_suffix(tmp_path):
    assert read(put(tmp_path / 'a.txt', toys.labelme()), 'cat').sum() == 600
    assert read(put(tmp_path / 'mask.json', toys.yolo()), '0').sum() == 600
    np.save(tmp_path / 'a.npy', toys.CAT_MASK)
    (tmp_path / 'a.npy').rename(tmp_path / 'a')
    assert is_annotation(tmp_path / 'a') and read(tmp_path / 'a').sum() == 600


def shape(kind, points, **fields):
    return dict(label='cat', points=points, shape_type=kind, **fields)


@pytest.mark.parametrize(
    'given, pixels',
    [
        (shape('circle', [[30, 20], [30, 30]]), 316),
        (shape('point', [[30, 20]]), 4),
        (shape(None, toys.corners((1, 1, 5, 5))), 16),
        (shape('polygon', [['1', '1'], ['5', '1'], ['5', '5'], ['1', '5']]), 16),
        (shape('rotation', toys.corners((1, 1, 5, 5))), 16),
        (shape('polygon', toys.corners((-3, 1, 5, 5))), 20),
    ],
)
def test_shapes_of_labelme(tmp_path, given, pixels):
    assert read(put(tmp_path / 'a.json', toys.labelme(shapes=[given]))).sum() == pixels


@pytest.mark.parametrize(
    'given, message',
    [
        (shape('linestrip', [[1, 1], [5, 5]]), 'linestrip, which has no area'),
        (shape('polygon', [[1, 1], [5, 5]]), 'polygon of 2 points; 3 are needed'),
        (shape('polygon', [[1, 1], [5, float('nan')], [6, 6]]), 'nan, which is no finite'),
        (shape('polygon', [[1, 1], [5, 1e9], [6, 6]]), 'far outside'),
        (shape('polygon', [[0.1, 0.1], [0.5, 0.1], [0.6, 0.6]]), 'shares of the size'),
        (shape('rectangle', [[0.1, 0.1], [0.9, 0.9]]), 'shares of the size'),
        (shape('rectangle', [[10, 10], [10, 20]]), 'has no area'),
        (shape('circle', [[30, 20], [30, 20]]), 'no radius'),
        (shape('point', [[70, 20]]), 'outside of the image'),
        (shape('blob', [[1, 1]]), "type is 'blob'"),
        (shape('polygon', '1,2'), 'no list'),
        (shape('mask', [[1, 1], [5, 5]]), 'holds none'),
        (shape('mask', [[1, 1], [5, 5]], mask='abc'), 'no PNG as base64'),
        (shape('mask', [[1, 1], [5, 5]], mask=toys.png_text(np.ones((4, 4)))), '4x4 pixels, its corners say 5x5'),
        (shape('mask', [[58, 1], [62, 5]], mask=toys.png_text(np.ones((5, 5)))), 'outside of the image'),
        (dict(points=[], shape_type='polygon'), 'no label'),
        (7, 'no label'),
    ],
)
def test_shapes_that_are_refused(tmp_path, given, message):
    with pytest.raises(AnnotationError, match=rf'a\.json.*{message}|shape 1.*{message}'):
        read(put(tmp_path / 'a.json', toys.labelme(shapes=[given])))


def test_cvat_ellipses_and_turned_boxes(tmp_path):
    scene = toys.cvat().split('<polygon')[0] + '{}</image></annotations>'
    path = put(tmp_path / 'a.xml', scene.format('<ellipse label="cat" cx="30" cy="20" rx="10" ry="5"/>'))
    assert abs(read(path).sum() - np.pi * 50) < 6
    put(path, scene.format('<box label="cat" xtl="20" ytl="15" xbr="40" ybr="25" rotation="90.0"/>'))
    assert np.array_equal(read(path), toys.region([(25, 10, 35, 30)]))
    put(path, scene.format('<polyline label="cat" points="1,2;3,4"/>'))
    with pytest.raises(AnnotationError, match='polyline 1 of the image photos/a.jpg.*no area.*polygon'):
        read(path)
    put(path, scene.format('<mask label="cat" rle="3, 4" left="1" top="1" width="5" height="2"/>'))
    with pytest.raises(AnnotationError, match='add up to 7 pixels, its box of 5x2 has 10'):
        read(path)
    put(path, scene.format('<mask label="cat" rle="0, 90000000000" left="0" top="0" width="300000" height="300000"/>'))
    with pytest.raises(AnnotationError, match='mask of 300000x300000 pixels .* reaches outside'):
        read(path)


@pytest.mark.parametrize('make', [toys.coco, toys.cvat])
def test_the_image_is_found_by_its_name(tmp_path, make):
    path = put(tmp_path / 'many', make())
    assert read(path, 'cat', '/data/photos/a.jpg').sum() == 600
    assert read(path, 'cat', 'a.png').sum() == 600  # saved anew
    with pytest.raises(AnnotationError, match=r'no image c\.jpg; it has .*a\.jpg, .*b\.jpg'):
        read(path, 'cat', 'c.jpg')
    with pytest.raises(AnnotationError, match='knows 2 images.*Give the image as a path'):
        read(path, 'cat', None)
    with pytest.raises(AnnotationError, match='many, image .*b.jpg, has no object'):
        read(put(path, toys.cvat()), 'cat', 'b.jpg')


def test_folders_tell_images_apart(tmp_path):
    path = put(tmp_path / 'a.json', toys.coco(names=('left/a.jpg', r'right\a.jpg')))
    assert read(path, 'cat', '/data/left/a.jpg').sum() == 600
    assert read(path, 'cat', r'C:\data\right\a.jpg').sum() == 100
    with pytest.raises(AnnotationError, match='knows 2 images that a.jpg may be: left/a.jpg'):
        read(path, 'cat', 'a.jpg')


def test_coco_details(tmp_path):
    content = toys.coco('rle')
    content['annotations'][1]['iscrowd'] = '1'
    mask = read(put(tmp_path / 'a.json', content), '0')  # by index
    assert (mask == 1).sum() == 400 and (mask == 255).sum() == 200
    content['annotations'][0]['segmentation']['counts'] = [1, 2]
    with pytest.raises(AnnotationError, match=r'annotation 1 \(label cat\) of .*a\.json.*add up to 3'):
        read(put(tmp_path / 'a.json', content), 'cat')
    assert read(tmp_path / 'a.json', 'cat', 'b.jpg').sum() == 100  # other images are not judged


def test_in_memory():
    annotation = toys.coco('rle')['annotations'][0]
    for source in (annotation['segmentation'], dict(segmentation=annotation['segmentation']), annotation):
        assert read(source, name=None).sum() == 400
    assert read(toys.labelme(), 'cat', None).sum() == 600
    with pytest.raises(AnnotationError, match='the annotation of a.jpg is an object of box'):
        read(dict(box=3))


def test_arrays(tmp_path):
    for values in (toys.CAT_MASK, toys.CAT_MASK * 1.0, toys.CAT_MASK * np.uint8(255), toys.CAT_MASK[None] * 1):
        np.save(tmp_path / 'a.npy', values)
        assert np.array_equal(read(tmp_path / 'a.npy'), toys.CAT_MASK)
    labels = toys.indices()
    labels[0] = 255
    np.save(tmp_path / 'a.npy', labels)
    assert (read(tmp_path / 'a.npy', '7')[0] == 255).all() and (read(tmp_path / 'a.npy', 7) == 1).sum() == 80
    for values, message in (
        (np.zeros((3, 40, 60)), r'shape \(3, 40, 60\)'),
        (np.full(SIZE, 0.3), 'no whole numbers'),
        (np.full(SIZE, np.nan), 'no whole numbers'),
        (np.full(SIZE, 'a'), 'array of <U1'),
        (np.zeros(SIZE), 'has no object'),
        (np.arange(2400).reshape(SIZE), '2400 values'),
    ):
        np.save(tmp_path / 'a.npy', values)
        with pytest.raises(AnnotationError, match=rf'a\.npy.*{message}'):
            read(tmp_path / 'a.npy')


class Evil:
    def __reduce__(self):
        return open, ('ran', 'w')


def test_no_array_runs_code_or_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save('a.npy', np.array([Evil()], dtype=object), allow_pickle=True)
    with pytest.raises(AnnotationError, match='an array of object'):
        read('a.npy')
    assert not os.path.exists('ran')
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (9999999, 9999999), }"
    put(tmp_path / 'b.npy', header.ljust(127) + b'\n')
    with pytest.raises(AnnotationError, match='b.npy is cut off or no plain array'):
        read('b.npy')


def test_palettes_of_black_and_white_go_by_colour(tmp_path):
    image = Image.fromarray(1 - toys.CAT_MASK.astype(np.uint8))
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(tmp_path / 'a.png')
    assert np.array_equal(read(tmp_path / 'a.png'), toys.CAT_MASK)


def test_palettes_of_voc_have_names(tmp_path):
    image = Image.fromarray(toys.indices() + np.uint8(5) * (toys.indices() == 3))
    image.putpalette(voc_palette())
    image.save(tmp_path / 'a.png')
    assert read(tmp_path / 'a.png', 'cat').sum() == 600 == read(tmp_path / 'a.png', '8').sum()


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><annotations>&b;</annotations>'


@pytest.mark.parametrize(
    'name, content, message',
    [
        ('a.json', '{"shapes": [', r'a\.json is cut off or no JSON'),
        ('a.json', '[' * 100000, 'cut off or no JSON'),
        ('a.json', dict(_via_img_metadata={}), 'VGG Image Annotator; labelme JSON, COCO JSON.*are read.*Export'),
        ('a.json', [dict(id=1, annotations=[], data={})], 'Label Studio'),
        ('a.json', [dict(image_id=1, category_id=2, segmentation={}, score=1)], "COCO's results"),
        ('a.json', dict(type='FeatureCollection', features=[]), 'GeoJSON'),
        ('a.json', dict(x=1), 'is an object of x'),
        ('a.json', [], 'is a list'),
        ('a.json', dict(images=[], annotations=[], categories=[]), 'no images'),
        ('a.json', '', 'is empty'),
        ('a.json', '<!DOCTYPE html><html>', 'web page'),
        ('a.json', 'version https://git-lfs.github.com/spec/v1\noid', 'Git LFS'),
        ('a.xml', '<annotations><image', r'a\.xml is cut off or no XML'),
        ('a.xml', '<svg></svg>', 'kind <svg>.*CVAT for images 1.1'),
        ('a.xml', '<annotations><track id="0"/></annotations>', 'videos.*CVAT for images 1.1'),
        ('a.xml', BOMB, 'defines entities'),
        ('a.xml', '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>', 'entities'),
        ('a.txt', 'hello', 'no known kind'),
        ('a.txt', '', 'has no object'),
        ('a.txt', '0 10 10 30 30', '30 is no share of the size; pixels'),
        ('a.txt', '0 0.1 0.1 0.3 nan', 'line 1 of .*nan'),
        ('a.txt', '0 0.1 0.1 0.3 0.3\n0.5 0.1 0.1 0.3 0.3', 'line 2 of .*whole number'),
        ('a.txt', '0 0.1 0.1 0.3 0.3\ncat 0.1 0.1 0.3 0.3', "line 2 of .*'cat'"),
        ('a.txt', '0 0.1 0.1 0.3 0.3 0.1 0.2 0.4', 'line 1 of .*half a point is missing'),
        ('a.txt', '0 0.1 0.1 0.3 0.3\n1 0.5 0.2', 'line 2 of .*it holds 3 values'),
        ('a.csv', 'a,b\n1,2', 'no known kind'),
        ('a.npz', b'PK\x03\x04abc', 'archive'),
    ],
)
def test_what_is_refused(tmp_path, name, content, message):
    path = put(tmp_path / name, content)
    assert is_annotation(path)
    with pytest.raises(AnnotationError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_yolo_names(tmp_path):
    path, _ = toys.write(tmp_path, 'yolo box')
    for text in ('names: [cat, dog]', 'names:\n  0: cat\n  1: dog'):
        (tmp_path / 'data.yaml').write_text(text)
        assert read(path, 'cat').sum() == 600
    (tmp_path / 'data.yaml').write_text('names: [cat]')
    with pytest.raises(AnnotationError, match='line 3 of .*the class 1 has no name; there are 1: cat'):
        read(path, 'cat')
    (tmp_path / 'data.yaml').write_text('!!python/object/apply:os.system ["touch ran"]')
    with pytest.raises(AnnotationError, match=r'data\.yaml holds no class names'):
        read(path, 'cat')
    (tmp_path / 'data.yaml').unlink()
    assert read(path, '0').sum() == 600
    (path.parent / 'classes.txt').write_text('cat\r\ndog\r\n')
    assert read(path, 'dog').sum() == 80
    assert read_file(path).names == ('cat', 'dog')


@pytest.mark.timeout(30)
def test_folders_and_pipes(tmp_path):
    with pytest.raises(FileNotFoundError, match='no annotation .*a.json'):
        read(tmp_path / 'a.json')
    os.mkfifo(tmp_path / 'b.json')
    for path in (tmp_path, tmp_path / 'b.json'):
        assert not is_annotation(path)
        with pytest.raises(AnnotationError, match='is no file'):
            read(path)
