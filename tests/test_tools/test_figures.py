# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The paper's figures from an untrained tiny model."""

import json

import numpy as np
import pytest
import torch
from helpers import load_script
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image
from tiny_voc import write_tiny_voc
from tool_runs import CONFIGS, OURS, REPO

from mmfss.evaluation import summarise, write_report
from mmfss.evaluation.functional import foreground_iou
from mmfss.registry import DATASETS, MODELS

CONFIG = str(CONFIGS / 'tiny_1shot.py')
CLASSES = ['bus', 'car', 'cat', 'chair', 'cow']  # novel in fold 1


@pytest.fixture(autouse=True)
def untouched_environment(monkeypatch):
    for name in (*OURS, 'LOCAL_RANK'):
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)


@pytest.fixture(scope='module')
def tool():
    return load_script(REPO / 'tools/analysis_tools/figures.py')


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return write_tiny_voc(tmp_path_factory.mktemp('figures') / 'VOC')


@pytest.fixture(scope='module')
def cfg(root):
    """The config as --fold 1 --data-root would read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('FOLD', '1')
        patch.setenv('MMFSS_DATA_ROOT', str(root))
        return Config.fromfile(CONFIG)


@pytest.fixture(scope='module')
def checkpoint(cfg, tmp_path_factory):
    """Random weights of fold 1."""
    init_default_scope('mmfss')
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'model.pth'
    torch.save(dict(meta=dict(dataset_meta=dict(fold=1)), state_dict=MODELS.build(cfg.model).state_dict()), path)
    return str(path)


@pytest.fixture
def draw(tool, root, checkpoint, tmp_path, capsys):
    """Call the tool; gives its status, what it printed, and the picture."""

    def call(figure, *options, data=('--fold', '1'), weights=checkpoint, out='figure.png'):
        path = tmp_path / out
        status = tool.main([figure, CONFIG, weights, *options, '--data-root', str(root), *data, '--out', str(path)])
        text = capsys.readouterr()
        return status, text.out + text.err, path

    return call


def rows_of(text):
    return [line for line in text.splitlines() if line.startswith('row ')]


def test_a_row_for_each_class(draw):
    status, text, path = draw('qualitative', '--height', '100')
    assert status == 0 and str(path) in text
    assert [line.split(', ')[2].split(':')[0] for line in rows_of(text)] == CLASSES
    picture = np.asarray(Image.open(path))
    assert picture.shape[0] > 500 and 400 < picture.shape[1] < 700  # five rows, four square columns
    assert draw('qualitative', '--height', '100', out='again.png')[2].read_bytes() == path.read_bytes()


def test_episodes_by_their_number(draw):
    status, text, path = draw(
        'qualitative', '--episodes', '7', '3', '--run', '1', '--outputs', 'prototype', 'final', out='figure.pdf'
    )
    assert status == 0 and path.read_bytes().startswith(b'%PDF')
    assert [line.split(': ')[1].split(', ')[:2] for line in rows_of(text)] == [
        ['run 1', 'episode 7'],
        ['run 1', 'episode 3'],
    ]


def test_similarity_maps_are_brightest_on_the_colour_of_the_support(draw, tool, cfg, checkpoint):
    status, _, path = draw('similarity', '--groups', '2', '--episodes', '0', '--height', '64')
    assert status == 0 and np.asarray(Image.open(path).convert('RGB')).std() > 20
    model, dataset = tool.load_model(cfg, checkpoint, 'cpu')[0], DATASETS.build(cfg.test_dataloader.dataset)
    episode = tool.segment_episode(model, dataset, 0, (2, 4))
    values, inside = episode.similarities[2], episode.sample.gt_sem_seg.data[0].numpy() == 1
    assert set(episode.similarities) == {2, 4} and values.shape == inside.shape
    assert values[inside].mean() > values[~inside].mean() + 0.1 and 0 <= values.min() <= values.max() <= 1 + 1e-5


@pytest.mark.parametrize(
    'options, message',
    [
        (('model.decode_head.block_groups=(2,3)',), r'compares the blocks of layers \(2, 3\) only'),
        (('model.decode_head.parts=(prior,attention)',), 'makes no similarity maps: it was built with parts='),
        (('model.decode_head.type=PrototypeHead',), 'PrototypeHead makes no similarity maps'),
    ],
)
def test_heads_without_such_maps(tool, cfg, options, message):
    changed = cfg.copy()
    if 'PrototypeHead' in options[0]:
        changed.model.decode_head = dict(type='PrototypeHead')
    else:
        key, value = options[0].split('=')
        changed.merge_from_dict({key: tuple(int(v) if v.isdigit() else v for v in value.strip('()').split(','))})
    with pytest.raises(ValueError, match=message):
        tool.check_groups(MODELS.build(changed.model).decode_head, (2, 4))


@pytest.fixture
def results(cfg, tmp_path):
    """A result file in which episode n of 30 finds n + 1 of 100 pixels, but for two with none of 50 and of 200."""
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    rows = []
    for index, episode in enumerate(dataset.episodes):
        counts = np.array([1000, 0, 99 - index, index + 1])
        counts = {4: np.array([1000, 0, 50, 0]), 17: np.array([1000, 0, 200, 0])}.get(index, counts)
        rows.append(
            dict(
                run=episode.run,
                episode=episode.episode,
                query=episode.query,
                supports=list(episode.supports),
                class_id=dataset.dataset.class_names.index(episode.class_name),
                counts={'final': counts},
            )
        )
    path = tmp_path / 'results_balanced.json'
    write_report(summarise(rows, dataset.metainfo, 0), str(path))
    return path


def test_the_worst_episodes_come_first(tool, results, cfg):
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    report = json.loads(results.read_text())
    worst = tool.worst_episodes(report, dataset, 5)
    ious = [100 * foreground_iou(row['counts']['final']) for row in report['episodes']]
    assert list(worst)[:2] == [17, 4]  # the larger object of the two first
    assert list(worst.values()) == sorted(worst.values()) == pytest.approx([ious[i] for i in worst])
    every = [dataset.episodes[i] for i in tool.worst_episodes(report, dataset, 99)]
    assert len({(episode.class_name, episode.query) for episode in every}) == len(every)  # a query only once
    one = tool.worst_episodes(report, dataset, 99, of_class=1)
    assert sorted(dataset.episodes[i].class_name for i in one) == CLASSES


def test_failures_show_what_the_file_says(draw, results):
    status, text, path = draw('failures', str(results), '--num', '3', '--height', '80', out='figure.jpg')
    assert status == 0 and len(rows_of(text)) == 3 and 'episode 2, ' in rows_of(text)[0]  # index 17: run 1
    assert np.asarray(Image.open(path)).std() > 20


def test_another_checkpoint_than_that_of_the_file_is_told(draw, results, monkeypatch, tool):
    monkeypatch.setattr(tool, 'SAME_IOU', -1)
    _, text, _ = draw('failures', str(results), '--num', '1', '--height', '80')
    assert 'says 0.0 for final, this model gives' in text


@pytest.mark.parametrize(
    'figure, options, kwargs, message',
    [
        ('qualitative', (), dict(out='figure.txt'), 'its name must end with one of .png'),
        ('qualitative', ('--episodes', '99'), {}, 'run 0 has no episode 99: it has 0 to 14'),
        ('qualitative', ('--run', '5'), {}, 'there is no run 5'),
        ('qualitative', ('--outputs', 'meta', 'base'), {}, 'no binary output base; it gives'),
        ('qualitative', (), dict(data=('--fold', '2')), 'other fold: fold 1 instead of 2'),
        ('qualitative', (), dict(weights='none.pth'), 'there is no checkpoint none.pth'),
        ('qualitative', ('--cfg-options', 'model.decode_head.channels=8'), {}, 'does not fit the model'),
    ],
)
def test_what_cannot_be_drawn_is_said(draw, figure, options, kwargs, message):
    status, text, path = draw(figure, *options, **kwargs)
    assert status == 1 and message in text and not path.exists()


def test_a_result_file_of_other_episodes(draw, results):
    status, text, _ = draw('failures', str(results), '--support-control', 'base')
    assert status == 1 and 'support_control None instead of base' in text
    status, text, _ = draw('failures', str(results), '--by', 'meta')
    assert status == 1 and 'has no output meta; it has final' in text
