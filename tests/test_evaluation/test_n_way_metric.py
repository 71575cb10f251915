# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The metric of several classes, against sums written out."""

import numpy as np
import pytest

from mmfss.evaluation import NWayIoUMetric, read_report
from mmfss.evaluation.n_way import class_counts

META = dict(
    class_names=('background', 'a', 'b', 'c'), eval_class_ids=(1, 2, 3), protocol='panet', fold=0, shots=1, ways=2
)


def sample(run, episode, ids, pred, label):
    return dict(
        run=run,
        episode=episode,
        class_id=ids[0],
        way_class_ids=ids,
        name=f'{episode}',
        support_names=['x', 'y'],
        gt_sem_seg=dict(data=label[None]),
        pred_sem_seg=dict(data=pred[None]),
    )


@pytest.fixture
def episodes():
    rng = np.random.default_rng(0)
    found = []
    for run in range(2):
        for episode in range(12):
            ids = tuple((rng.permutation(3)[:2] + 1).tolist())
            label = rng.integers(0, 3, (9, 7))
            label[0] = 255
            if episode % 3 == 0:
                label[label == 2] = 0  # the second class is not there
            if episode == 5:
                label[label == 0] = 1
            found.append(sample(run, episode, ids, rng.integers(0, 3, (9, 7)), label))
    return found


def sums(episodes, present_only):
    """mIoU and FB-IoU, pixel set by pixel set."""
    miou, fb = [], []
    for run in range(2):
        areas, sides = {c: [0, 0] for c in (1, 2, 3)}, [[0, 0], [0, 0]]
        for e in (e for e in episodes if e['run'] == run):
            pred, label = e['pred_sem_seg']['data'][0], e['gt_sem_seg']['data'][0]
            valid = label != 255
            parts = [(areas[c], pred == way, label == way) for way, c in enumerate(e['way_class_ids'], 1)]
            parts += [(sides[0], pred == 0, label == 0), (sides[1], pred > 0, label > 0)]
            for total, p, t in parts:
                if (t & valid).any() or not present_only:
                    total[0] += (p & t & valid).sum()
                    total[1] += ((p | t) & valid).sum()
        miou.append(np.mean([i / u for i, u in areas.values()]))
        fb.append(np.mean([i / u for i, u in sides]))
    return 100 * np.mean(miou), 100 * np.mean(fb), 100 * np.std(fb, ddof=1)


@pytest.mark.parametrize('present_only', [True, False])
def test_sums(episodes, present_only, tmp_path):
    metric = NWayIoUMetric(present_only=present_only, out_file=str(tmp_path / 'r.json'), bootstrap=20)
    metric.dataset_meta = META
    metric.process([], episodes[:5])
    metric.process([], episodes[5:] + episodes[:1])  # one comes twice, as in a last batch
    found = metric.evaluate(len(episodes))
    miou, fb, spread = sums(episodes, present_only)
    assert found['mIoU'] == pytest.approx(miou) and found['FB-IoU'] == pytest.approx(fb)
    assert found['FB-IoU_std'] == pytest.approx(spread)
    report = read_report(str(tmp_path / 'r.json'))
    assert (report['ways'], report['num_episodes'], len(report['episodes'])) == (2, 24, 48)
    assert report['present_only'] == present_only and {r['episodes'] for r in report['per_run']} == {12}
    assert len({(e['run'], e['episode'], e['class_id']) for e in report['episodes']}) == 48


def test_one_class_counts_as_the_binary_metric_does(episodes):
    from mmfss.evaluation.functional import confusion

    for e in episodes:
        pred, label = (e[key]['data'][0] for key in ('pred_sem_seg', 'gt_sem_seg'))
        pred, label = pred.clip(max=1), np.where(label == 255, 255, label.clip(max=1))
        assert class_counts(pred, label, 1)[1].tolist() == confusion(pred, label).tolist()


def test_what_cannot_be_counted_is_named(episodes):
    with pytest.raises(KeyError, match='NWayIoUMetric: a data sample has no .*way_class_ids'):
        NWayIoUMetric().process([], [{k: v for k, v in episodes[0].items() if k != 'way_class_ids'}])
    with pytest.raises(ValueError, match='must hold 0 to 1'):
        class_counts(np.full((2, 2), 2), np.zeros((2, 2), int), 1)
    with pytest.raises(ValueError, match='restored to the size'):
        class_counts(np.zeros((2, 3)), np.zeros((2, 2)), 1)
