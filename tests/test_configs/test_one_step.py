# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Every shipped config: builds, does one training step, where it learns, and one test episode on small images."""

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from shipped import (
    COCO_TO_PASCAL,
    LITE,
    ON_A_BASE_LEARNER,
    PHOTOS,
    REPRI_BASE,
    STORED,
    TRAINED,
    WEIGHTLESS,
    read,
    shrink,
)

from mmfss.registry import DATASETS, METRICS, MODELS

# One config for each backbone, data set and stage, and one of each kind; the others are slow.
FIRST = {
    f'{stage}/{backbone}_{rest}'
    for backbone in ('vgg16', 'r50', 'r101')
    for stage, rest in (('pspnet', 'pascal'), ('pspnet', 'coco'), ('msanet', 'pascal_1shot'), ('msanet', 'coco_1shot'))
}
FIRST |= {'msanet/vgg16_pascal_5shot', 'msanet/ablations/r101_pascal_1shot_meta', *LITE, *STORED, PHOTOS}
FIRST -= {'vat/lite0_pascal_5shot'}  # ten seconds
FIRST |= {'asgnet/r50_pascal_1shot'}
FIRST |= {f'{m}/{name}' for m in ('bam', 'pfenet', 'hsnet') for name in ('vgg16_pascal_1shot', 'r50_coco_5shot')}
FIRST |= {'cyctr/r50_pascal_1shot', 'cyctr/r50_coco_5shot'}
FIRST |= {'panet/vgg16_pascal_1shot', 'panet/vgg16_coco_5shot'}
FIRST |= {'repri/base_r50_pascal', 'repri/base_lite0_pascal', 'repri/r50_coco_5shot', 'repri/oracle/r50_pascal_1shot'}
FIRST |= {'repri/lite0_pascal_1shot'}


def marked(names):
    return [name if name in FIRST else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize('name', [*marked((*TRAINED, *ON_A_BASE_LEARNER, *COCO_TO_PASCAL)), *WEIGHTLESS])
def test_one_step_and_one_test_episode(name, data):
    if 'lite0' in name:
        pytest.importorskip('timm')
    data(name)
    cfg = shrink(read(name))
    init_default_scope('mmfss')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    stage1 = name.startswith('pspnet') or name in REPRI_BASE
    if name in (*WEIGHTLESS, *ON_A_BASE_LEARNER, *COCO_TO_PASCAL):
        assert not model.learned
    else:
        train_one_step(model, cfg, episodes=2 if stage1 else 1)  # BatchNorm learns in stage 1
        learns = [n.split('.')[0] for n, p in model.named_parameters() if p.requires_grad]
        assert stage1 or 'base_head' not in learns
        assert stage1 or ('backbone' in learns) == (not cfg.model.get('freeze_backbone', True))

    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    model.eval()
    with torch.no_grad():
        (sample,) = model.test_step(pseudo_collate([dataset[0]]))
    assert sample.pred_sem_seg.shape == sample.ori_shape
    assert sample.gt_sem_seg.shape == sample.ori_shape
    metric = METRICS.build(cfg.test_evaluator)
    metric.dataset_meta = dataset.metainfo
    metric.process([], [sample.to_dict()])
    if stage1:
        assert metric.evaluate(size=1)['mIoU'] >= 0
    elif cfg.model.type == 'BaseLearnerEnsemble':
        assert sample.pred_meta_seg.shape == sample.ori_shape


def train_one_step(model, cfg, episodes):
    """Every learned weight gets a finite gradient, no other one moves."""
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    learned = {n: p for n, p in model.named_parameters() if p.requires_grad}
    reached = set()
    for n, p in learned.items():
        p.register_post_accumulate_grad_hook(lambda p, n=n: reached.add(n))
    frozen = {n: p.detach().double().sum() for n, p in model.named_parameters() if n not in learned}
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    model.train()
    log = model.train_step(pseudo_collate([dataset[i] for i in range(episodes)]), wrapper)
    assert all(torch.isfinite(value) for value in log.values()), log
    # Data-parallel training would hang on parameters without gradient.
    assert reached == learned.keys(), learned.keys() - reached
    assert all(p.isfinite().all() for p in learned.values())
    for n, p in model.named_parameters():
        assert n in learned or p.detach().double().sum() == frozen[n], n
