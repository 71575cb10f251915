# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Episode lists and contact sheets from the command line."""

import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import load_script
from PIL import Image
from tiny_voc import write_tiny_voc
from tool_runs import CONFIGS, OURS, REPO, environment

from mmfss.datasets import read_episodes
from mmfss.visualization.contact_sheet import contact_sheet

CONFIG = str(CONFIGS / 'tiny_1shot.py')


def load(name):
    path = REPO / 'tools' / 'analysis_tools' / f'{name}.py'
    return load_script(path)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return ['--fold', '1', '--data-root', str(write_tiny_voc(tmp_path_factory.mktemp('tiny') / 'VOC'))]


@pytest.fixture(autouse=True)
def untouched_environment(monkeypatch):
    for name in (*OURS, 'LOCAL_RANK'):
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)


@pytest.fixture
def written(data, tmp_path, capsys):
    """A list and what the tool printed."""
    file = tmp_path / 'lists' / 'balanced.jsonl'
    assert load('episodes').main([CONFIG, *data, '--out', str(file)]) == 0
    return file, capsys.readouterr().out


def test_writing_and_showing(written, capsys):
    file, out = written
    header, episodes = read_episodes(file)
    assert len(episodes) == 30 and header['protocol'] == 'balanced' and header['fold'] == 1
    assert f'hash {header["hash"]}' in out and str(file) in out
    rows = {
        line.split('|')[1].strip(): [c.strip() for c in line.split('|')[2:-1]]
        for line in out.splitlines()
        if line.startswith('|')
    }
    assert rows['class'][:3] == ['candidates', 'episodes', 'in each run']
    assert rows['cat'][:4] == ['7', '6', '3', '20.0%'] and len(rows) == 6
    assert load('episodes').main([str(file)]) == 0
    shown = capsys.readouterr().out
    assert header['hash'] in shown and 'candidates' not in shown and '| cat ' in shown


def test_the_hash_is_the_same_in_another_process(written, data):
    command = [sys.executable, str(REPO / 'tools/analysis_tools/episodes.py'), CONFIG, *data]
    env = dict(environment(), PYTHONHASHSEED='7', MMFSS_CACHE=os.environ['MMFSS_CACHE'])
    done = subprocess.run(command, cwd=REPO, env=env, text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f'hash {read_episodes(written[0])[0]["hash"]}' in done.stdout


def test_a_list_on_another_copy_of_the_data(written, data, tmp_path, capsys):
    other = ['--fold', '1', '--data-root', str(write_tiny_voc(tmp_path / 'elsewhere'))]
    assert load('episodes').main([CONFIG, *other, '--episodes-file', str(written[0])]) == 0
    assert read_episodes(written[0])[0]['hash'] in capsys.readouterr().out


def test_lists_that_do_not_fit(written, data, tmp_path, capsys):
    tool, file = load('episodes'), str(written[0])
    assert tool.main([CONFIG, '--fold', '2', *data[2:], '--episodes-file', file]) == 1
    assert 'made for fold 1' in capsys.readouterr().err
    names = [name for name in (write_tiny_voc(tmp_path / 'less') / 'JPEGImages').iterdir()]
    listed = tmp_path / 'less/ImageSets/Segmentation/trainaug.txt'
    listed.write_text('\n'.join(sorted(p.stem for p in names if not p.stem.endswith('_3'))) + '\n')
    assert tool.main([CONFIG, '--fold', '1', '--data-root', str(tmp_path / 'less'), '--episodes-file', file]) == 1
    assert 'is not in the image list' in capsys.readouterr().err
    written[0].write_text('{}')
    assert tool.main([file]) == 1 and 'is not an episode list' in capsys.readouterr().err


def test_a_protocol_and_a_class_with_too_few_images(data, tmp_path, capsys):
    tool = load('episodes')
    out = str(tmp_path / 'x.jsonl')
    assert tool.main([CONFIG, *data, '--protocol', 'hsnet', '--out', out]) == 0
    assert read_episodes(out)[0]['protocol'] == 'hsnet' and len(read_episodes(out)[1]) == 1000
    capsys.readouterr()
    many = ['--cfg-options', 'test_dataloader.dataset.shots=7']
    assert tool.main([CONFIG, *data, '--out', str(tmp_path / 'y.jsonl'), *many]) == 1
    assert '7-shot episodes need 8 candidate images' in capsys.readouterr().err
    assert not (tmp_path / 'y.jsonl').exists()


@pytest.mark.parametrize('options', [['--out', 'x'], ['--protocol', 'bam']])
def test_a_list_is_only_shown(options, tmp_path):
    with pytest.raises(SystemExit):
        load('episodes').main([str(tmp_path / 'a.jsonl'), *options])


def test_browsing(data, tmp_path, capsys):
    tool = load('browse_episodes')
    options = ['--out', str(tmp_path), '--num', '3', '--page', '2', '--height', '60', '--columns', '1']
    assert tool.main([CONFIG, *data, *options, '--support-annotation', 'point']) == 0
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == [
        'test_fold1_balanced_point_0.png',
        'test_fold1_balanced_point_1.png',
        'train_fold1_point_0.png',
        'train_fold1_point_1.png',
    ]
    assert all(name in capsys.readouterr().out or name for name in names)
    page = np.asarray(Image.open(tmp_path / names[2]))
    assert page.std() > 10 and page.shape[0] > 150
    with pytest.raises(SystemExit):
        tool.main([str(CONFIGS / 'tiny_base.py'), *data, *options])


def test_contact_sheet_places_every_sheet():
    sheets = [np.full((h, w, 3), 10 * i, np.uint8) for i, (h, w) in enumerate([(9, 20), (12, 8), (5, 5)])]
    page = contact_sheet(sheets, 2)
    assert page.shape == (17, 28, 3)
    assert (page[:9, :20] == 0).all() and (page[:12, 20:] == 10).all() and (page[12:, :5] == 20).all()
    assert (page[9:12, :20] == 255).all()
    assert contact_sheet(sheets[:1], 4).shape == (9, 20, 3)
    with pytest.raises(ValueError, match='needs sheets'):
        contact_sheet([])
