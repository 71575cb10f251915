# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Lists of images, classes and episodes in any encoding: every name is used, or the list or the name is refused."""

import functools
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from fuzzing import Refusal, attempt, folder, written
from helpers import AREA, load_script, scenes, write_class_folders, write_voc
from hypothesis import example, given
from hypothesis import strategies as st
from mutations import ENCODINGS, damaged, encoded, mangled

from mmfss.apis.queries import NameBook, find_queries
from mmfss.apis.writer import ResultWriter
from mmfss.datasets import DividedFolderDataset, FolderFewShotDataset, Pascal5iDataset, read_episodes, write_episodes
from mmfss.datasets.class_index import load_class_index
from mmfss.datasets.episodes import Episode
from mmfss.datasets.listings import read_lines
from mmfss.evaluation import summarise
from mmfss.evaluation.report import read_report

TOOLS = Path(__file__).parents[2] / 'tools' / 'analysis_tools'
COMPARE, ANALYZE = (load_script(TOOLS / f'{name}.py') for name in ('compare_results', 'analyze_results'))
CLASSES = ('ant', 'bee', 'cow', 'dog')
IMAGES = [name for name in scenes('val') if name.split('_')[1] in ('01', '02', '03')]
STRANGE = st.one_of(
    st.sampled_from(
        [
            '',
            ' ',
            '..',
            '.',
            '/',
            '../own/ant',
            '/etc/passwd',
            'ant/..',
            'ant/../bee/1',
            '\0',
            'a\0b',
            '~',
            '*',
            'background',
            'ant\\1',
            'C:\\x',
            'ä',
            '\ufeff',
            '# ant',
            'ant,bee',
            'x' * 300,
            'x/' * 3000,
            'http://a/b.jpg',
            '.hidden',
            'ANT/1',
            'ant/1.JPG',
            'ant/1.jpg',
            'val_01_0.jpg',
            '\u2028',
            '\x85',
            '\x1a',
        ]
    ),
    st.text(max_size=20),
)


@functools.cache
def data() -> tuple[Path, Path]:
    """A VOC layout and class folders, which stay as they are."""
    root = Path(tempfile.mkdtemp(prefix='fuzz'))
    voc = write_voc(root / 'voc', val=scenes('val'))
    return voc, write_class_folders(root / 'own', CLASSES, images=3)


@st.composite
def texts(draw, names: list[str]) -> bytes:
    """A list of names, some strange, with any line ends, in any encoding."""
    lines = draw(st.lists(st.sampled_from(names), max_size=6) | st.just(names))
    for _ in range(draw(st.integers(0, 2))):
        lines.insert(draw(st.integers(0, len(lines))), draw(STRANGE)) if lines is not names else None
    end = draw(st.sampled_from(['\n', '\n', '\r\n', '\r', '\n\n', ' \n', '\t', ',', ';', ' ']))
    return draw(encoded(end.join(lines) + draw(st.sampled_from(['', end]))))


@given(
    names=st.lists(st.sampled_from([*IMAGES, 'Bär', 'a b', '猫']), min_size=1),
    coding=st.sampled_from(ENCODINGS[:5]),
    end=st.sampled_from(['\n', '\r\n', '\r']),
)
def test_every_name_of_a_list_is_read(names, coding, end):
    with folder() as place:
        path = written(place, 'list.txt', end.join(names).encode(coding))
        marked = coding in ('utf-8', 'utf-8-sig', 'utf-16') or all(map(str.isascii, names))
        if marked:
            assert attempt(lambda: read_lines(path), str(path)) == names


@given(text=texts(IMAGES))
@example(text=b'/')
@example(text=b'../JPEGImages/val_01_0')
def test_a_list_of_images(text):
    root, _ = data()
    with folder() as place:
        path = written(place, 'list.txt', text)

        def build():
            return Pascal5iDataset(
                data_root=str(root), ann_file=str(path), phase='val', candidate_area=AREA, index_workers=1
            )

        built = attempt(build, str(path), str(root))
        if not isinstance(built, Refusal):
            assert 0 < len(built) <= len(read_lines(path))


@given(text=texts([f'{name}/{k}' for name in CLASSES for k in (1, 2, 3)]))
def test_a_list_of_training_images(text):
    _, root = data()
    with folder() as place:
        path = written(place, 'train.txt', text)

        def build():
            return DividedFolderDataset(data_root=str(root), train_images=str(path), phase='train', index_workers=1)

        built = attempt(build, str(path), str(root))
        assert isinstance(built, Refusal) or len(built) == len(read_lines(path))


@given(text=texts(list(CLASSES)), other=texts(list(CLASSES)))
@example(text=b'..', other=b'ant')
@example(text=b'ant', other=b'bee\nbee')
@example(text=b'', other=b'')
def test_a_list_of_classes(text, other):
    _, root = data()
    with folder() as place:
        paths = [written(place, f'{name}.txt', content) for name, content in (('train', text), ('val', other))]
        options = dict(data_root=str(root), phase='val', index_workers=1)
        named = [str(root), *map(str, paths), 'novel_classes']
        for kind in (dict(novel_classes=str(paths[0])), dict(splits=dict(train=str(paths[0]), test=str(paths[1])))):
            built = attempt(lambda kind=kind: FolderFewShotDataset(**options, **kind), *named)
            if not isinstance(built, Refusal):
                assert set(built.class_names) <= {'background', *CLASSES}


EPISODES = [Episode(0, i, 'cat', f'q{i}', (f's{i}',)) for i in range(3)]


@functools.cache
def frozen() -> list[dict]:
    """The lines of a good list of episodes."""
    with folder() as place:
        write_episodes(Path(place, 'list.jsonl'), EPISODES, dict(shots=1, fold=0, eval_classes=['cat']))
        return [json.loads(line) for line in Path(place, 'list.jsonl').read_text().splitlines()]


@given(content=st.deferred(lambda: mangled(frozen())), data=st.data())
def test_a_list_of_episodes(content, data):
    lines = content if isinstance(content, list) else [content]
    text = '\n'.join(json.dumps(line) for line in lines)
    with folder() as place:
        path = written(place, 'list.jsonl', data.draw(encoded(text)))
        read = attempt(lambda: read_episodes(path), str(path))
        assert isinstance(read, Refusal) or (isinstance(read[0], dict) and read[1] == EPISODES)


@given(content=st.deferred(lambda: damaged('\n'.join(map(json.dumps, frozen())).encode())))
def test_a_damaged_list_of_episodes(content):
    with folder() as place:
        path = written(place, 'list.jsonl', content)
        attempt(lambda: read_episodes(path), str(path))


@given(names=st.lists(STRANGE, max_size=4), pattern=st.booleans())
@example(names=['[', '**'], pattern=True)
def test_queries_by_any_name(names, pattern):
    _, root = data()
    given_ = [str(root / name) if pattern and '\0' not in name else name for name in names]
    named = (*(name.rstrip('/') for name in given_ if name.strip('/')), 'list is empty', 'path of the image is empty')
    found = attempt(lambda: find_queries(given_, NameBook()), *named, '/')
    assert isinstance(found, Refusal) or sum(map(len, found)) > 0


@given(
    names=st.lists(
        st.sampled_from(
            [
                '1.jpg',
                '1.JPG',
                '1.jpeg',
                '2.jpg',
                '1.png',
                '._1.jpg',
                'Thumbs.db',
                'x.txt',
                '1 .jpg',
                'ä.jpg',
                '1.PNG',
                '.png',
                'sub/1.jpg',
            ]
        ),
        unique=True,
    ),
    kinds=st.data(),
)
def test_class_folders_of_any_files(names, kinds):
    _, good = data()
    with folder() as place:
        for name in names:
            source = good / 'ant' / kinds.draw(st.sampled_from(['1.jpg', '2.png']))
            path = written(place, f'own/gear/{name}', b'')
            shutil.copyfile(source, path)
        root = Path(place, 'own')
        attempt(
            lambda: DividedFolderDataset(data_root=str(root), train_images=1, phase='train', index_workers=1), str(root)
        )


@functools.cache
def index_file() -> bytes:
    """The class index of a list, as it is kept beside the data."""
    root, _ = data()
    with folder() as place:
        load_class_index([entry()], data_root=place, workers=1)
        (path,) = Path(place).rglob('*.npz')
        return path.read_bytes()


def entry() -> tuple[str, str, str]:
    root, _ = data()
    name = IMAGES[0]
    return name, str(root / f'JPEGImages/{name}.jpg'), str(root / f'SegmentationClassAug/{name}.png')


@given(content=st.deferred(lambda: damaged(index_file())))
def test_a_damaged_class_index_is_made_anew(content):
    with folder() as place:
        first = load_class_index([entry()], data_root=place, workers=1)
        (path,) = Path(place).rglob('*.npz')
        path.write_bytes(content)
        again = attempt(lambda: load_class_index([entry()], data_root=place, workers=1), place)
        assert again.labels.tolist() == first.labels.tolist() and again.counts.tolist() == first.counts.tolist()


RECORD = dict(
    name='a',
    identity='i',
    stamp='s',
    settings='x',
    classes=['gear'],
    image=dict(file_name='a.jpg', mask='masks/a.png', height=4, width=5),
    annotations=[dict(category_id=1, segmentation=dict(size=[4, 5], counts='d0'), area=0, bbox=[0, 0, 1, 1])],
)


@given(content=mangled([RECORD, dict(RECORD, name='b')]), data=st.data())
def test_the_notes_of_an_earlier_run(content, data):
    lines = content if isinstance(content, list) else [content]
    with folder() as place:
        written(place, 'masks/a.png', b'x')
        written(place, 'annotations.jsonl', data.draw(encoded('\n'.join(map(json.dumps, lines)))))
        writer = attempt(lambda: ResultWriter(place, ['gear'], 'x', ('coco',)), place)
        if not isinstance(writer, Refusal):
            attempt(writer.close, place)
            json.loads(Path(place, 'annotations.json').read_text())


@pytest.mark.parametrize(
    'change', [dict(image=1.0), dict(classes='gear'), dict(annotations=[dict(id=1)]), dict(name=1)]
)
def test_a_changed_note_is_passed_over(change, tmp_path):
    written(tmp_path, 'masks/a.png', b'x')
    written(tmp_path, 'annotations.jsonl', json.dumps({**RECORD, **change}).encode())
    assert not ResultWriter(tmp_path, ['gear'], 'x').names


@functools.cache
def report() -> dict:
    """What tools/test.py writes."""
    meta = dict(class_names=('background', 'ant', 'bee'), eval_class_ids=(1, 2), fold=0, shots=1, protocol='balanced')
    rows = [
        dict(run=0, episode=e, class_id=1 + e % 2, query=f'q{e}', supports=[], counts={'final': np.array([5, 0, 2, 8])})
        for e in range(4)
    ]
    return dict(
        config='msanet',
        checkpoint='x.pth',
        **json.loads(
            json.dumps(summarise(rows, dict(meta, episodes_hash='f00', support_control=None), 0), default=list)
        ),
    )


@given(content=st.deferred(lambda: mangled(report())), data=st.data())
def test_a_report(content, data):
    with folder() as place:
        path = written(place, 'results.json', data.draw(encoded(json.dumps(content))))
        good = written(place, 'good.json', json.dumps(report()).encode())
        found = attempt(lambda: read_report(str(path)), str(path))
        if not isinstance(found, Refusal):
            both = [(str(path), found), (str(good), report())]
            attempt(lambda: COMPARE.check_same_episodes(both), str(path))
            attempt(lambda: COMPARE.comparison_table(both, ['a', 'b']), str(path))
            attempt(lambda: ANALYZE.size_table(found, list(found['summary'])), str(path))
            attempt(lambda: ANALYZE.title_of(found), str(path))


@pytest.mark.parametrize(
    'change, part',
    [
        (dict(summary=1.0), 'summary is a float'),
        (dict(summary={}), 'summary is empty'),
        (dict(summary={'meta': {'mIoU': 1, 'FB-IoU': 1}}), r'episodes\[0\].counts has no four numbers for meta'),
        (dict(per_class=[{'name': 'ant', 'episodes': 1}]), r'per_class\[0\] has no IoU'),
        (dict(episodes=None), 'episodes is a NoneType'),
    ],
)
def test_an_edited_report_is_refused(change, part, tmp_path):
    path = written(tmp_path, 'results.json', json.dumps({**report(), **change}).encode())
    with pytest.raises(ValueError, match=f'results.json is no whole result file: {part}'):
        read_report(str(path))
