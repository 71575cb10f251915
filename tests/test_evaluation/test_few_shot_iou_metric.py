# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import json
import os
import socket

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.evaluator import Evaluator
from mmseg.evaluation import IoUMetric

from mmfss.evaluation import FewShotIoUMetric, read_report
from mmfss.registry import METRICS

from .episode_samples import META, make_sample

SAMPLES = [(run, episode) for run in (0, 1) for episode in range(5)]


def run_metric(samples, size=None, meta=META, **kwargs):
    evaluator = Evaluator(FewShotIoUMetric(bootstrap=kwargs.pop('bootstrap', 20), **kwargs))
    evaluator.dataset_meta = meta
    for sample in samples:
        evaluator.process([sample])
    return evaluator.evaluate(size or len(samples)), evaluator.metrics[0]


def test_registered_under_the_scope():
    assert METRICS.get('FewShotIoUMetric') is FewShotIoUMetric


def test_values_are_plain_floats_in_percent():
    metrics, metric = run_metric([make_sample(*key) for key in SAMPLES])
    names = [
        f'{lead}{key}{end}'
        for lead in ('', 'meta/', 'all-foreground/')
        for key in ('mIoU', 'FB-IoU')
        for end in ('', '_std')
    ]
    assert set(metrics) == set(names)
    assert all(type(value) is float for value in metrics.values())
    assert 1 < metrics['mIoU'] < 100
    per_run = [run['outputs']['final']['mIoU'] for run in metric.report['per_run']]
    assert metrics['mIoU'] == pytest.approx(np.mean(per_run))
    assert metrics['mIoU_std'] == pytest.approx(np.std(per_run, ddof=1))


def test_all_foreground_needs_the_ground_truth_alone():
    sample = make_sample(0, 1, outputs=('final',))
    label = sample.gt_sem_seg.data
    metrics, _ = run_metric([sample])
    share = (label == 1).sum() / (label != 255).sum()
    assert metrics['all-foreground/mIoU'] == pytest.approx(100 * share.item())
    assert metrics['all-foreground/FB-IoU'] == pytest.approx(50 * share.item())
    assert 'all-foreground/mIoU' not in run_metric([sample], all_foreground=False)[0]


def test_outputs_none_scores_everything_but_the_base_map():
    sample = make_sample(0, 0, outputs=('final', 'meta', 'prior', 'base'))
    _, metric = run_metric([sample])
    assert list(metric.report['summary']) == ['final', 'meta', 'prior', 'all-foreground']


def test_output_asked_for_but_not_given_is_an_error():
    with pytest.raises(KeyError, match='pred_meta_seg'):
        run_metric([make_sample(0, 0, outputs=('final',))], outputs=('final', 'meta'))


def test_output_given_now_and_then_is_left_out_with_a_line(monkeypatch):
    lines = []
    monkeypatch.setattr(
        'mmfss.evaluation.metrics.few_shot_iou_metric.print_log', lambda text, **kwargs: lines.append(text)
    )
    metrics, _ = run_metric([make_sample(0, 0), make_sample(0, 1, outputs=('final',))])
    assert 'meta/mIoU' not in metrics
    assert sum('meta is not given for every episode' in line for line in lines) == 1


@pytest.mark.parametrize('outputs', ['final', (), ('final', 'base')])
def test_bad_outputs_are_refused(outputs):
    with pytest.raises(ValueError, match='outputs'):
        FewShotIoUMetric(outputs=outputs)


def test_sample_without_episode_is_refused():
    sample = make_sample(0, 0)
    sample.pop('episode')
    with pytest.raises(KeyError, match='EpisodicDataset'):
        run_metric([sample])


def test_episodes_of_another_fold_are_refused():
    with pytest.raises(ValueError, match='same fold'):
        run_metric([make_sample(0, 0, class_id=1)])


def test_missing_metainfo_is_refused():
    with pytest.raises(ValueError, match='eval_class_ids'):
        run_metric([make_sample(0, 0)], meta=dict(class_names=()))


@pytest.mark.parametrize('as_zero', [False, True])
def test_class_never_drawn(as_zero, capsys):
    samples = [make_sample(0, episode, class_id=3) for episode in range(2)]
    meta = {**META, 'missing_classes_as_zero': as_zero}
    metrics, metric = run_metric(samples, meta=meta)
    cow, dog = metric.report['per_class']
    assert (cow['episodes'], dog['episodes']) == (2, 0)
    assert dog['IoU']['final'] == (0.0 if as_zero else None)
    assert metrics['mIoU'] == pytest.approx(cow['IoU']['final'] / (2 if as_zero else 1))
    assert metric.report['missing_classes'] == ['dog']


def test_an_episode_seen_twice_counts_once():
    samples = [make_sample(0, episode) for episode in range(3)]
    once, _ = run_metric(samples)
    twice, _ = run_metric([*samples, samples[0]], size=3)
    assert once == twice


def test_lost_episodes_are_noticed():
    with pytest.raises(ValueError, match='2 different episodes of 3'):
        run_metric([make_sample(0, 0), make_sample(0, 0), make_sample(0, 1)])


def test_wrong_size_of_prediction_is_refused():
    sample = make_sample(0, 0)
    sample.gt_sem_seg = make_sample(0, 0, size=(9, 9)).gt_sem_seg
    with pytest.raises(ValueError, match='restored to the size'):
        run_metric([sample])


def test_fb_iou_is_the_miou_of_mmseg_over_background_and_foreground():
    samples = [make_sample(0, episode) for episode in range(6)]
    ours, _ = run_metric(samples)
    theirs = Evaluator(IoUMetric(prefix='mmseg'))
    theirs.dataset_meta = dict(classes=('background', 'foreground'))
    for sample in samples:
        theirs.process([sample])
    # mmseg rounds to two decimals.
    assert ours['FB-IoU'] == pytest.approx(theirs.evaluate(6)['mmseg/mIoU'], abs=0.0051)


def test_result_file(tmp_path):
    path = tmp_path / 'deep' / 'results.json'
    metrics, metric = run_metric([make_sample(*key) for key in SAMPLES], out_file=str(path))
    report = read_report(str(path))
    assert report == json.loads(json.dumps(metric.report))
    assert report['summary']['final']['mIoU'] == metrics['mIoU']
    low, high = report['summary']['final']['mIoU_ci']
    assert low <= metrics['mIoU'] <= high
    for key in ('protocol', 'episodes_hash', 'fold', 'shots', 'support_control'):
        assert report[key] == META[key]
    row = report['episodes'][1]
    assert (row['run'], row['episode'], row['query'], row['supports']) == (0, 1, 'q1', ['s1'])
    assert sum(row['counts']['final']) == sum(row['counts']['all-foreground'])
    assert [p.name for p in path.parent.iterdir()] == ['results.json']


def test_result_file_that_cannot_be_written_does_not_cost_the_evaluation(tmp_path):
    (tmp_path / 'file').touch()
    metrics, _ = run_metric([make_sample(0, 0)], out_file=str(tmp_path / 'file' / 'r.json'))
    assert metrics['mIoU'] > 0


def test_report_of_something_else_is_refused(tmp_path):
    for text in ('{', '[]', '{"mIoU": 3}'):
        (tmp_path / 'r.json').write_text(text)
        with pytest.raises(ValueError, match='tools/test.py'):
            read_report(str(tmp_path / 'r.json'))


def _rank(rank: int, port: int, folder: str) -> None:
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    os.chdir(folder)
    torch.set_num_threads(1)
    dist.init_process_group('gloo', rank=rank, world_size=2)
    padded = [*SAMPLES[:9], SAMPLES[0]]  # nine episodes: DefaultSampler(round_up=True) repeats one
    metric = FewShotIoUMetric(bootstrap=20, out_file='results.json')
    metric.dataset_meta = META
    for key in padded[rank::2]:
        metric.process(None, [make_sample(*key).to_dict()])
    with open(f'rank{rank}.json', 'w') as file:
        json.dump(metric.evaluate(9), file)
    dist.destroy_process_group()


def test_two_processes_give_the_numbers_of_one(tmp_path):
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        port = sock.getsockname()[1]
    mp.spawn(_rank, args=(port, str(tmp_path)), nprocs=2)
    alone, _ = run_metric([make_sample(*key) for key in SAMPLES[:9]])
    for rank in (0, 1):
        assert json.loads((tmp_path / f'rank{rank}.json').read_text()) == alone
    assert read_report(str(tmp_path / 'results.json'))['num_episodes'] == 9


def test_the_report_names_images_as_the_episode_list_does():
    named, plain = make_sample(0, 0), make_sample(0, 1)
    named.set_metainfo(dict(name='bee/1', support_names=['bee/2']))
    episodes = run_metric([named, plain])[1].report['episodes']
    assert [(e['query'], e['supports']) for e in episodes] == [('bee/1', ['bee/2']), ('q1', ['s1'])]
