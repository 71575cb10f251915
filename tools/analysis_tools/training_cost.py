#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Estimate what the 72 trainings of the published tables cost: floating-point operations, and hours on GPUs.

    python tools/analysis_tools/training_cost.py --peak 156 --utilisation 0.3 --gpus 8      # A100, TF32
    python tools/analysis_tools/training_cost.py --recipes r50_pascal

Six recipes (three backbones, two data sets) in four folds of three trainings each: base learner, 1-shot, 5-shot. The
operations of a training and a validation sample are counted on the real model without computing it; hours follow from
the GPU's peak and the share of it that is reached, which are assumptions.
"""

import argparse
import logging
from unittest import mock

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from mmfss.models.layers import masks
from mmfss.registry import MODELS
from mmfss.utils.configs import resolve_config
from mmfss.utils.plain_errors import plain_errors

RECIPES = [f'{backbone}_{data}' for backbone in ('vgg16', 'r50', 'r101') for data in ('pascal', 'coco')]
# Images of an epoch, summed over the four folds (docs/results.md has the lists), and images of a validation.
STAGE1 = dict(pascal=(4 * 5953, 1449), coco=(4 * 82_783, 40_504))
STAGE2 = dict(pascal=4208 + 3726 + 2752 + 4510, coco=21_917 + 41_809 + 43_045 + 44_614)
EPISODES = 1000  # of a validation, after each epoch
FOREGROUND = 0.19  # share of the supports' pixels that are compared with the query
BATCH = 2  # BatchNorm on 1x1 maps needs two


def kept_first(keep: Tensor) -> Tensor:
    """Stands in for the choice of foreground pixels, which needs values: (N, L) -> (N, M) of the assumed share."""
    count = max(1, round(FOREGROUND * keep.shape[1]))
    return torch.arange(count, device=keep.device).expand(keep.shape[0], count)


def giga_operations(config: str) -> tuple[float, float]:
    """Billions of operations of a sample: training (forward and backward) and validation; a multiply-add counts two."""
    cfg = Config.fromfile(resolve_config(config))
    init_default_scope(cfg.get('default_scope', 'mmfss'))
    model = MODELS.build(without_files(cfg.model.to_dict()))
    found = []
    with FakeTensorMode(allow_non_fake_inputs=True), mock.patch.object(masks, '_kept_first', kept_first):
        inputs = inputs_of(cfg)
        for training in (True, False):
            model.train(training)
            with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(training):
                outputs = model(inputs, None, mode='tensor')
                if training:
                    outputs = outputs.values() if isinstance(outputs, dict) else [outputs]
                    sum(output.mean() for output in outputs if output.requires_grad).backward()
            found.append(counter.get_total_flops() / BATCH / 1e9)
    return found[0], found[1]


def without_files(model: dict) -> dict:
    """A model's config without the weights that it would load."""
    fields = {key: value for key, value in model.items() if key not in ('init_cfg', 'base_checkpoint', 'pretrained')}
    return {key: without_files(value) if isinstance(value, dict) else value for key, value in fields.items()}


def inputs_of(cfg: Config) -> Tensor | dict[str, Tensor]:
    """A batch of a config's training: images of stage 1, episodes of stage 2."""
    side = cfg.crop_size if 'crop_size' in cfg else cfg.size
    if 'shots' not in cfg:
        return torch.zeros(BATCH, 3, side, side)
    return dict(
        query=torch.zeros(BATCH, 3, side, side),
        support=torch.zeros(BATCH, cfg.shots, 3, side, side),
        support_mask=torch.zeros(BATCH, cfg.shots, side, side, dtype=torch.long),
        query_padding=torch.zeros(BATCH, side, side, dtype=torch.bool),
        episode_seed=torch.zeros(BATCH, dtype=torch.long),
    )


def trainings(recipe: str) -> list[dict]:
    """The three trainings of a recipe, each in four folds."""
    data = recipe.split('_')[1]
    found = []
    for stage, config in (
        ('base learner', f'configs/pspnet/{recipe}.py'),
        ('1-shot', f'configs/msanet/{recipe}_1shot.py'),
        ('5-shot', f'configs/msanet/{recipe}_5shot.py'),
    ):
        epochs = Config.fromfile(resolve_config(config)).train_cfg.max_epochs
        images, validation = STAGE1[data] if stage == 'base learner' else (STAGE2[data], EPISODES)
        train, test = giga_operations(config)
        operations = epochs * (images * train + 4 * validation * test) * 1e9
        found.append(
            dict(recipe=recipe, stage=stage, samples=epochs * images, train=train, test=test, operations=operations)
        )
    return found


def hours(operations: float, args: argparse.Namespace) -> float:
    """Hours on all GPUs together."""
    return operations / (args.peak * 1e12 * args.utilisation * args.gpus) / 3600


@plain_errors('training_cost')
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--recipes', nargs='+', choices=RECIPES, default=RECIPES, metavar='NAME')
    parser.add_argument('--peak', type=float, default=156, metavar='TFLOPS', help='of one GPU; default: A100 in TF32')
    parser.add_argument('--utilisation', type=float, default=0.3, metavar='SHARE', help='share of it that is reached')
    parser.add_argument('--gpus', type=int, default=8, metavar='N')
    args = parser.parse_args()
    if not (0 < args.utilisation <= 1 and args.peak > 0 and args.gpus > 0):
        raise ValueError('--peak and --gpus must be above 0, --utilisation above 0 and 1 at most')
    MMLogger.get_current_instance().setLevel(logging.ERROR)
    print('| recipe | training | samples, 4 folds | GFLOP a sample | of validation | EFLOP in all | hours |')
    print('|---|---|---|---|---|---|---|')
    total = 0.0
    for row in (row for recipe in args.recipes for row in trainings(recipe)):
        total += row['operations']
        print(
            f'| {row["recipe"]} | {row["stage"]} | {row["samples"] / 1e6:.2f} M | {row["train"]:,.0f} | '
            f'{row["test"]:,.0f} | {row["operations"] / 1e18:,.1f} | {hours(row["operations"], args):,.1f} |',
            flush=True,
        )
    print(f'| all | {12 * len(args.recipes)} | | | | {total / 1e18:,.0f} | {hours(total, args):,.0f} |')


if __name__ == '__main__':
    main()
