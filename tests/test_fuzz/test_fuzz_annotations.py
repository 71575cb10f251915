# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Annotation files of every tool: labels of the image's size, or a refusal that names the file; no file runs code."""

import io
import json
import re
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from fuzzing import Refusal, Trap, attempt, folder, written
from helpers import load_script
from hypothesis import example, given
from hypothesis import strategies as st
from mutations import NUMBERS, TEXTS, VALUES, damaged, encoded, mangled
from PIL import Image

from mmfss.apis.support_masks import support_mask
from mmfss.datasets.annotations import read_segmentation
from mmfss.datasets.preparation.annotated import prepare_annotations
from mmfss.datasets.preparation.coco import prepare_coco

toys = load_script(Path(__file__).parents[1] / 'test_datasets' / 'annotation_toys.py')
SIZE = (toys.H, toys.W)
IMAGE = 'the image a.jpg'
JSON = [
    *(toys.labelme(kind) for kind in ('polygon', 'rectangle', 'mask')),
    *(toys.coco(kind) for kind in ('polygon', 'flat', 'rle', 'runs', 'rle_list', 'box')),
]
XML = [*(toys.cvat(kind) for kind in ('polygon', 'box', 'mask')), toys.voc()]
YOLO = [toys.yolo(kind) for kind in ('polygon', 'box')]


def jpeg() -> bytes:
    stream = io.BytesIO()
    Image.new('RGB', SIZE[::-1], 'red').save(stream, 'JPEG')
    return stream.getvalue()


JPEG = jpeg()


def check_labels(labels):
    if not isinstance(labels, Refusal):
        assert labels.shape == SIZE and labels.dtype == np.uint8 and (labels == 1).any()
        assert set(np.unique(labels).tolist()) <= {0, 1, 255}


def use_all_ways(data: bytes, name: str, label: str = 'cat', **beside: bytes) -> None:
    """A file as the annotation of a support, with and without its label, and to be converted to both layouts."""
    with folder() as place:
        path = written(place, name, data)
        for other, content in beside.items():
            written(place, other.replace('__', '.'), content)
        names = (str(path), *(str(Path(place, other.replace('__', '.'))) for other in beside))
        photos = written(place, 'images/a.jpg', JPEG).parent
        written(place, 'images/b.jpg', JPEG)
        for annotation in (path, dict(mask=path, label=label)):
            check_labels(attempt(partial(support_mask, annotation, SIZE, IMAGE, 'images/a.jpg'), *names))
        for layout, skip in (('folders', True), ('masks', False)):
            out = Path(place, layout)
            made = attempt(
                partial(prepare_annotations, path, out, images=photos, layout=layout, skip=skip, workers=0), *names
            )
            assert isinstance(made, Refusal) != out.is_dir()
            for mask in out.rglob('*.png'):
                with Image.open(mask) as image:
                    assert image.size == SIZE[::-1]
            assert not list(Path(place).glob('.*half*'))
        assert not Trap.sprung(), 'code of the file was run'


@given(data=st.sampled_from(JSON).flatmap(mangled).map(lambda tree: json.dumps(tree)).flatmap(encoded))
def test_json_of_labelme_and_coco(data):
    use_all_ways(data, 'a.json')


@pytest.mark.parametrize(
    'name, text',
    [
        ('a.json', json.dumps(toys.coco(names=('x.jpg', 'b.jpg')))),  # an image that is not there
        ('a.json', json.dumps(toys.coco(names=('x' * 300 + '.jpg', 'b.jpg')))),
        ('a.json', json.dumps({**JSON[0], 'shapes': [{**JSON[0]['shapes'][0], 'shape_type': [1]}]})),
        ('a.xml', XML[0].replace('"cat"', '""')),
        ('a.xml', XML[0].replace('utf-8', 'ttf-8')),
    ],
)
def test_what_campaigns_found(name, text):
    use_all_ways(text.encode(), name)


def test_a_mask_whose_name_is_too_long_is_refused_with_the_annotations(tmp_path):
    path = written(tmp_path, 'a.json', json.dumps(toys.coco(names=('x' * 300 + '.jpg', 'b.jpg'))).encode())
    message = attempt(lambda: prepare_coco(path, None, tmp_path / 'masks', workers=0), str(path))
    assert isinstance(message, Refusal) and not (tmp_path / 'masks').exists()


@given(data=st.sampled_from(JSON).flatmap(lambda tree: damaged(json.dumps(tree).encode())))
def test_damaged_json(data):
    use_all_ways(data, 'a.json')


@given(
    content=st.sampled_from([*JSON, *JSON[4]['annotations'], JSON[5]['annotations'][0]['segmentation']]).flatmap(
        mangled
    )
)
def test_what_json_holds_in_memory(content):
    for annotation in (content, dict(mask=content, label='cat')):
        names = (IMAGE, 'images/a.jpg')
        check_labels(
            attempt(partial(support_mask, annotation, SIZE, IMAGE, 'images/a.jpg'), *names, str(content), typed=True)
        )


@given(
    content=st.sampled_from(JSON[3:]).flatmap(mangled),
    rules=st.tuples(
        st.sampled_from(['small', 'last', 'first']),
        st.sampled_from(['ignore', 'object', 'background']),
        st.sampled_from(['refuse', 'skip', 'box']),
    ),
)
def test_index_masks_of_coco(content, rules):
    with folder() as place:
        path, masks = written(place, 'instances.json', json.dumps(content).encode()), Path(place, 'masks')
        overlap, crowd, without = rules
        made = attempt(
            lambda: prepare_coco(path, None, masks, overlap=overlap, crowd=crowd, without=without, workers=0), str(path)
        )
        if not isinstance(made, Refusal):
            sizes = {
                Path(name).with_suffix('.png').as_posix(): (width, height)
                for name, height, width in made.images.values()
            }
            for mask in masks.rglob('*.png'):
                with Image.open(mask) as image:
                    assert image.size == sizes[mask.relative_to(masks).as_posix()]


RUNS = st.lists(NUMBERS | st.integers(0, 2400), max_size=9)
LETTERS = st.text(st.characters(min_codepoint=40, max_codepoint=115), max_size=20)


@given(
    size=st.sampled_from([[40, 60], [60, 40], [0, 0], [40], [10**9, 10**9], [40.0, 60], ['40', '60'], 40, None])
    | VALUES,
    counts=st.one_of(RUNS, LETTERS, LETTERS.map(str.encode), VALUES),
)
def test_runs(size, counts):
    content = dict(size=size, counts=counts)
    read = attempt(lambda: read_segmentation(content, *SIZE).mask(), '')
    assert isinstance(read, Refusal) or (read.shape == SIZE and read.dtype == bool)
    check_labels(attempt(lambda: support_mask(content, SIZE, IMAGE, 'images/a.jpg'), 'images/a.jpg'))


@st.composite
def xml_texts(draw) -> str:
    """XML of CVAT or VOC in which parts are changed, taken out, doubled or renamed."""
    root = ElementTree.fromstring(draw(st.sampled_from(XML)))
    texts = TEXTS.filter(lambda text: '\0' not in text and '\ud800' not in text) | NUMBERS.map(str)
    for _ in range(draw(st.integers(1, 3))):
        owners = {child: owner for owner in root.iter() for child in owner}
        part = draw(st.sampled_from([root, *owners]))
        kind = draw(st.sampled_from(['attribute', 'attribute', 'text', 'remove', 'double', 'rename', 'drop']))
        if kind == 'attribute' and part.attrib:
            part.set(draw(st.sampled_from(sorted(part.attrib))), draw(texts))
        elif kind == 'drop' and part.attrib:
            del part.attrib[draw(st.sampled_from(sorted(part.attrib)))]
        elif kind == 'remove' and part in owners:
            owners[part].remove(part)
        elif kind == 'double' and part in owners:
            owners[part].append(part)
        elif kind == 'rename':
            part.tag = draw(st.sampled_from(sorted({p.tag for p in root.iter()} | {'polyline', 'x', 'ellipse'})))
        else:
            part.text = draw(texts)
    return ElementTree.tostring(root, encoding='unicode')


@given(data=xml_texts().flatmap(encoded))
def test_xml_of_cvat_and_voc(data):
    use_all_ways(data, 'a.xml')


@given(data=st.sampled_from(XML).flatmap(lambda text: damaged(text.encode())))
def test_damaged_xml(data):
    use_all_ways(data, 'a.xml')


@st.composite
def yolo_texts(draw) -> str:
    """Lines of YOLO whose words are changed."""
    words = re.split(r'(\s+)', draw(st.sampled_from(YOLO)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(words) - 1))
        words[at] = draw(
            NUMBERS.map(str) | st.sampled_from(['', '\n', ' ', '1e400', '+1', '0x1', 'x', '99999999999999999999'])
        )
    return ''.join(words)


@given(data=yolo_texts().flatmap(encoded), names=st.sampled_from([b'cat\ndog\n', b'', b'\xff\xfe', b'cat']))
def test_text_of_yolo(data, names):
    use_all_ways(data, 'a.txt', '0', classes__txt=names)


NAMES = (
    'names: [cat, dog]\n',
    'names: {0: cat, 1: dog}\n',
    'names: {1: cat}\n',
    'names: 7\n',
    'names:\n',
    '- a\n',
    'names: !!python/object/apply:os.system ["touch ran"]\n',
    'a: &a [x, x]\nb: &b [*a, *a]\nnames: [*b, *b]\n',
    'names: [[cat], {a: b}, null]\n',
    'names: *nowhere\n',
    'names: &n [*n]\n',
    'names: {? [a, b] : c}\n',
    '\t',
    'names: 2020-99-99\n',
    'a0: &a0 [x, x]\n' + ''.join(f'a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n' for i in range(1, 40)) + 'names: [*a39]\n',
)


@given(text=st.sampled_from(NAMES), labels=st.sampled_from(YOLO), data=st.data())
def test_class_names_of_yolo(text, labels, data):
    use_all_ways(labels.encode(), 'a.txt', 'cat', data__yaml=data.draw(encoded(text)))


@pytest.mark.parametrize('text', NAMES)
def test_class_names_as_they_are(text):
    use_all_ways(YOLO[0].encode(), 'a.txt', 'cat', data__yaml=text.encode())


@st.composite
def arrays(draw) -> np.ndarray:
    """Index arrays, and arrays that are none."""
    kind = draw(st.sampled_from(['u1', 'u2', '>i4', 'i8', 'f4', 'f8', '?', 'c8', 'U2', 'O', 'M8[s]', 'u1,u1']))
    shape = draw(st.sampled_from([SIZE, SIZE[::-1], (1, *SIZE), (*SIZE, 1), (*SIZE, 3), (), (0,), (2400,)]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    top = draw(st.sampled_from([2, 3, 256, 2000]))
    array = rng.integers(0, top, shape).astype(kind)
    if array.dtype.kind == 'f' and array.size:
        array.reshape(-1)[0] = draw(st.sampled_from([np.nan, np.inf, 0.5, -1, 1e30, 3]))
    if kind == 'O' and array.size:
        array.reshape(-1)[0] = Trap()
    return np.asfortranarray(array) if draw(st.booleans()) else array


@given(array=arrays(), data=st.data())
def test_arrays_of_numpy(array, data):
    stream = io.BytesIO()
    np.save(stream, array)
    content = stream.getvalue()
    use_all_ways(data.draw(damaged(content)) if data.draw(st.booleans()) else content, 'a.npy', '1')


@given(
    shape=st.lists(st.sampled_from([-1, 0, 1, 40, 60, 10**6, 10**12, 2**63, 10**30]), max_size=4),
    kind=st.sampled_from(['|u1', '<f8', '|O', '<M8[s]', 'x', '|V0', '|S0']),
)
@example(shape=[2**63], kind='|u1')  # OverflowError
@example(shape=[10**12], kind='|V0')  # was copied for hours: 10^12 elements of no bytes
@example(shape=[40, 60], kind="'")  # TokenError
@example(shape=[-1], kind='|V0')  # numpy divided by zero, which ended the process
@example(shape=[-1, 0], kind='|u1')
def test_an_array_that_claims_a_shape(shape, kind):
    head = repr({'descr': kind, 'fortran_order': False, 'shape': tuple(shape)}).encode().ljust(117) + b'\n'
    use_all_ways(b'\x93NUMPY\x01\x00' + len(head).to_bytes(2, 'little') + head + b'\1' * 100, 'a.npy', '1')


@given(data=st.binary(max_size=100), suffix=st.sampled_from(['json', 'xml', 'txt', 'npy', 'csv', 'yaml', 'npz', 'mat']))
@example(data=b'[' * 100_000, suffix='json')
@example(data=b'{"shapes":' * 10_000, suffix='json')
@example(data=b'<a>' * 20_000, suffix='xml')
def test_any_bytes(data, suffix):
    use_all_ways(data, f'a.{suffix}')
