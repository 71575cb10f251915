# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Lists of images, classes and episodes in any encoding: every name is used, or the list or the name is refused."""

import functools
import json
import shutil
from pathlib import Path

from fuzzing import Refusal, attempt, folder, written
from helpers import AREA, scenes, write_class_folders, write_voc
from hypothesis import example, given
from hypothesis import strategies as st
from mutations import ENCODINGS, damaged, encoded, mangled

from mmfss.apis.queries import NameBook, find_queries
from mmfss.datasets import DividedFolderDataset, FolderFewShotDataset, Pascal5iDataset, read_episodes, write_episodes
from mmfss.datasets.episodes import Episode
from mmfss.datasets.listings import read_lines

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


ROOT = folder()  # removed at the end of the process


@functools.cache
def data() -> tuple[Path, Path]:
    """A VOC layout and class folders, which stay as they are."""
    root = Path(ROOT.name)
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
