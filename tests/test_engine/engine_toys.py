# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The smallest model, data set and metric that a Runner accepts, and a runner made of them."""

import itertools

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import Dataset

from mmfss.registry import DATASETS, METRICS, MODELS
from mmfss.utils.weights import load_base_learner

_NUMBERS = itertools.count()
NAMES = ('background', 'cat', 'cow', 'dog', 'fox')


@MODELS.register_module(force=True)
class ToySegmentor(BaseModel):
    """A stage-1 model in miniature: it has a backbone and a head with one output a class."""

    def __init__(self, width=4, num_classes=3, base_checkpoint=None, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.backbone = nn.Linear(2, width)
        self.decode_head = nn.ModuleDict(dict(conv_seg=nn.Linear(width, num_classes)))
        self.base_checkpoint = base_checkpoint

    def init_weights(self):
        super().init_weights()
        if self.base_checkpoint is not None:
            load_base_learner(self, self.base_checkpoint)

    def forward(self, inputs, mode='tensor', **kwargs):
        scores = self.decode_head['conv_seg'](self.backbone(inputs))
        if mode == 'loss':
            return dict(loss=scores.square().mean())
        return list(scores)


@DATASETS.register_module(force=True)
class ToyDataset(Dataset):
    """Four random points with the metainfo of a fold."""

    def __init__(self, fold=0, class_names=NAMES, base=(1, 2)):
        novel = tuple(i for i in range(1, len(class_names)) if i not in base)
        self.metainfo = dict(
            classes=('background', *(class_names[i] for i in base)),
            class_names=tuple(class_names),
            fold=fold,
            base_class_ids=tuple(base),
            novel_class_ids=novel,
            shots=1,
        )

    def __getitem__(self, i):
        return dict(inputs=torch.full((2,), float(i)))

    def __len__(self):
        return 4


@METRICS.register_module(force=True)
class ToyMetric(BaseMetric):
    """mIoU as given for each evaluation in turn; the last value stays."""

    def __init__(self, scores=(10.0, 20.0, 30.0)):
        super().__init__()
        self.scores = list(scores)

    def process(self, data_batch, data_samples):
        self.results += [0] * len(data_samples)

    def compute_metrics(self, results):
        return dict(mIoU=self.scores.pop(0) if len(self.scores) > 1 else self.scores[0])


def toy_config(work_dir, epochs=2, fold=0, model=None, dataset=None, scores=(10.0, 20.0, 30.0), **fields) -> Config:
    """A config for the toys, with the checkpoint hooks of default_runtime.py.

    Args:
        work_dir (Path): Where the run writes.
        epochs (int): Number of epochs of two iterations.
        fold (int): Fold of the toy data.
        model (dict | None): Arguments of ToySegmentor.
        dataset (dict | None): Arguments of ToyDataset.
        scores (tuple): mIoU of each validation.
        **fields: Further config fields.
    """
    data = dict(type='ToyDataset', fold=fold, **(dataset or {}))
    sampler = dict(type='DefaultSampler', shuffle=False)
    loader = dict(batch_size=2, num_workers=0, sampler=sampler, dataset=data, collate_fn=dict(type='default_collate'))
    cfg = dict(
        default_scope='mmfss',
        work_dir=str(work_dir),
        fold=fold,
        model=dict(type='ToySegmentor', **(model or {})),
        train_dataloader=loader,
        val_dataloader=loader,
        test_dataloader=loader,
        val_evaluator=dict(type='ToyMetric', scores=scores),
        test_evaluator=dict(type='ToyMetric', scores=scores),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01)),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        val_cfg=dict(),
        test_cfg=dict(),
        default_hooks=dict(
            checkpoint=dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=1, save_best='mIoU', rule='greater'),
            checkpoint_guard=dict(type='CheckpointGuardHook'),
        ),
        randomness=dict(seed=0),
        # mmengine tells runs of the same second apart by nothing else
        experiment_name=f'toy{next(_NUMBERS)}',
        log_level='WARNING',
    )
    return Config({**cfg, **fields})
