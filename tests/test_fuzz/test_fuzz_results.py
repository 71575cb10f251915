# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Files that mmfss wrote and somebody changed: class indexes, notes of an earlier run, result reports."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from fuzzing import Refusal, attempt, folder, written
from helpers import load_script, scenes, write_voc
from hypothesis import example, given
from hypothesis import strategies as st
from mutations import damaged, encoded, mangled

from mmfss.apis.writer import ResultWriter
from mmfss.datasets.class_index import load_class_index
from mmfss.evaluation import summarise
from mmfss.evaluation.report import read_report

TOOLS = Path(__file__).parents[2] / 'tools' / 'analysis_tools'
COMPARE, ANALYZE = (load_script(TOOLS / f'{name}.py') for name in ('compare_results', 'analyze_results'))
NAME = 'val_01_0'


ROOT = folder()  # removed at the end of the process


@functools.cache
def data() -> Path:
    """A VOC layout, which stays as it is."""
    return write_voc(Path(ROOT.name), val=scenes('val'))


@functools.cache
def index_file() -> bytes:
    """The class index of a list, as it is kept beside the data."""
    with folder() as place:
        load_class_index([entry()], data_root=place, workers=1)
        (path,) = Path(place).rglob('*.npz')
        return path.read_bytes()


def entry() -> tuple[str, str, str]:
    return NAME, str(data() / f'JPEGImages/{NAME}.jpg'), str(data() / f'SegmentationClassAug/{NAME}.png')


def damaged_stream() -> bytes:
    """An index whose first compressed block is none: zlib has an error of its own."""
    content = bytearray(index_file())
    start = 30 + int.from_bytes(content[26:28], 'little') + int.from_bytes(content[28:30], 'little')
    content[start : start + 8] = b'\x07' * 8
    return bytes(content)


@given(content=st.deferred(lambda: damaged(index_file())))
@example(content=damaged_stream())
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
            if found['episodes']:  # the command refuses a file without
                attempt(lambda: ANALYZE.size_table(found, list(found['summary'])), str(path))
            attempt(lambda: ANALYZE.title_of(found), str(path))


@pytest.mark.parametrize(
    'change, part',
    [
        (dict(summary=1.0), 'summary is a float'),
        (dict(summary={}), 'summary is empty'),
        (dict(summary={'final': {'mIoU': 1, 'FB-IoU': 1, 'mIoU_std': [1]}}), 'summary.final.mIoU_std is a list'),
        (dict(summary={'meta': {'mIoU': 1, 'FB-IoU': 1}}), r'episodes\[0\].counts has no four numbers for meta'),
        (dict(per_class=[{'name': 'ant', 'episodes': 1}]), r'per_class\[0\] has no IoU'),
        (dict(episodes=None), 'episodes is a NoneType'),
    ],
)
def test_an_edited_report_is_refused(change, part, tmp_path):
    path = written(tmp_path, 'results.json', json.dumps({**report(), **change}).encode())
    with pytest.raises(ValueError, match=f'results.json is no whole result file: {part}'):
        read_report(str(path))
