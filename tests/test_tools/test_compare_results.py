# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from pathlib import Path

import numpy as np
import pytest
from helpers import load_script

from mmfss.evaluation import summarise, write_report

PATH = Path(__file__).parents[2] / 'tools' / 'analysis_tools' / 'compare_results.py'
META = dict(
    class_names=('background', 'ant', 'bee'),
    eval_class_ids=(1, 2),
    fold=0,
    shots=1,
    protocol='balanced',
    episodes_hash='f00',
    support_control=None,
)


@pytest.fixture(scope='module')
def tool():
    return load_script(PATH)


@pytest.fixture
def write(tmp_path):
    def write_one(name, quality, config='msanet', shift=0, **meta):
        rows = [
            dict(
                run=0,
                episode=e,
                class_id=1 + e % 2,
                query=f'q{e + shift}',
                supports=[],
                counts={'final': np.array([5, 0, 10 - quality, quality]), 'all-foreground': np.array([0, 5, 0, 10])},
            )
            for e in range(4)
        ]
        report = {'config': config, 'checkpoint': 'x.pth', **summarise(rows, {**META, **meta}, 0)}
        path = str(tmp_path / name)
        write_report(report, path)
        return path

    return write_one


def test_table_with_support_control(tool, write, capsys):
    files = [write('a.json', 8), write('b.json', 3, support_control='wrong_novel'), write('c.json', 4, config='floor')]
    assert tool.main(files) == 0
    out = capsys.readouterr().out.splitlines()
    assert 'hash `f00`' in out[0]
    assert out[2:] == [
        '| output | ant | bee | mIoU | FB-IoU | correct - wrong_novel |',
        '|---|---:|---:|---:|---:|---:|',
        '| msanet, final | 80.00 | 80.00 | 80.00 | 75.71 | +50.00 |',
        '| all-foreground | 66.67 | 66.67 | 66.67 | 33.33 | - |',
        '| floor, final | 40.00 | 40.00 | 40.00 | 42.73 | - |',
    ]


def test_other_episodes_are_refused(tool, write, capsys):
    files = [write('a.json', 8), write('b.json', 8, config='b', episodes_hash='bar')]
    assert tool.main(files) == 1
    assert 'different episodes' in capsys.readouterr().err
    assert tool.main([*files, '--allow-different']) == 0


def test_a_control_must_have_the_same_queries(tool, write):
    main = write('a.json', 8)
    same = write('b.json', 8, support_control='base', episodes_hash='other')
    other = write('c.json', 8, support_control='base', shift=1)
    assert tool.main([main, same]) == 0
    assert tool.main([main, other]) == 1


def test_names_outputs_and_file(tool, write, tmp_path):
    files = [write('a.json', 8), write('b.json', 7)]
    assert tool.main(files) == 1  # the same method twice
    out = tmp_path / 'table.md'
    options = ['--names', 'one', 'two', '--outputs', 'final', '--out', str(out)]
    assert tool.main([*files, *options]) == 0
    assert '| two, final | 70.00' in out.read_text() and 'all-foreground' not in out.read_text()


def test_not_a_result_file(tool, tmp_path, capsys):
    (tmp_path / 'x.json').write_text('{}')
    assert tool.main([str(tmp_path / 'x.json')]) == 1
    assert tool.main([str(tmp_path / 'none.json')]) == 1
