# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The benchmark from the command line."""

import json

import pytest
from helpers import load_script
from tool_runs import CONFIGS, REPO, run

TOOL = 'analysis_tools/benchmark.py'
TINY = CONFIGS / 'tiny_1shot.py'


@pytest.fixture(scope='module')
def tool():
    """The tool as a module."""
    return load_script(REPO / 'tools' / TOOL)


def test_everything_is_measured_beside_the_plain_implementation(tmp_path):
    file = tmp_path / 'found.json'
    options = ['--size', 64, '--rounds', 2, '--images', 4, '--episodes', 4, '--no-memory', '--json', file]
    output = run(TOOL, TINY, *options)
    found = json.loads(file.read_text())
    assert found['machine'].keys() >= {'cpu', 'cores', 'threads', 'torch'} and 'tiny_1shot.py' in found['command']
    assert found.keys() >= {'commit', 'setup', 'matrix_product', 'agreement', 'competitors', 'measures', 'parts'}
    own, peer = 'mmfss float32', 'plain'
    assert found['peer'] == peer and found['agreement'][own]['deviation'] < 1e-4
    assert found['competitors'][own].keys() == {'parameters', 'learned', 'bank_bytes'}
    assert found['measures'].keys() == {'joint', 'encode', 'segment', 'train', 'evaluate'}
    for name in ('joint', 'segment', 'train'):
        for one in (own, peer):
            row = found['measures'][name][one]
            assert row['low'] <= row['median'] <= row['high'] and row['flops'] > 0 and len(row['seconds']) == 2
        assert found['measures'][name][own]['ratio'] > 0
    assert found['measures']['encode'].keys() == {own}
    evaluated = found['measures']['evaluate']
    assert evaluated[own]['mIoU'] == pytest.approx(evaluated[peer]['mIoU'], abs=0.1)
    assert evaluated[own]['episodes_per_second'] > 0
    parts = found['parts'][own]
    assert parts.keys() >= {'backbone', 'similarity', 'prior', 'attention', 'decoder', 'base head', 'rest'}
    assert sum(part['share'] for part in parts.values()) == pytest.approx(1)
    assert parts['backbone']['flops'] > 0 and parts['backbone']['of_matrix_product'] > 0
    assert '| joint | mmfss float32 |' in output and '| backbone |' in output


@pytest.mark.slow
def test_memory_is_that_of_a_process_of_its_own(tmp_path):
    file = tmp_path / 'found.json'
    run(TOOL, TINY, '--shots', 2, '--size', 41, '--rounds', 1, '--parts', 'encode', '--json', file)
    row = json.loads(file.read_text())['measures']['encode']['mmfss float32']
    assert row['peak'] > row['working'] > 0


@pytest.mark.parametrize(
    'options, message',
    [
        (['missing.py'], 'There is no config missing.py'),
        ([CONFIGS / 'tiny_base.py'], 'tiny_base.py is no config of stage 2'),
        ([TINY, 'missing.pth'], 'there is no checkpoint missing.pth'),
        ([TINY, '--reference', 'nowhere'], '--reference nowhere is no checkout of AIVResearch/MSANet'),
        ([TINY, '--foreground', '19'], '--foreground is 19.0; it is a share'),
        ([TINY, '--rounds', '0'], '--rounds is 0; it must be at least 1'),
    ],
)
def test_what_cannot_be_measured_is_named(tool, options, message, capsys):
    with pytest.raises(SystemExit) as end:
        tool.main(list(map(str, options)))
    said = capsys.readouterr().err.splitlines()[-1]
    assert end.value.code not in (0, None) and said.startswith('benchmark') and message in said
