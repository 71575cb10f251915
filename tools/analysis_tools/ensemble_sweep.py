#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""How much of ``final`` comes from which weight of the ensemble.

    python tools/analysis_tools/ensemble_sweep.py CONFIG CHECKPOINT --fold 1 --episodes 240

Scores the same test episodes under the learnt ensemble, the learnt ensemble without its base term, and plain ones
(background = meta background + v2 * base foreground, foreground = meta foreground) for several v2, and says on which
share of the novel objects the base learner sees a base class.
"""

import argparse

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor
from tqdm import tqdm

from mmfss.engine.cli import add_run_options, add_shots_option, load_config
from mmfss.engine.model_loading import load_model
from mmfss.evaluation.functional import confusion
from mmfss.utils.plain_errors import plain_errors

PLAIN = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)


def build(cfg: Config, checkpoint: str):
    """Model with the checkpoint's weights, strictly, and the test episodes."""
    model, _ = load_model(cfg, checkpoint, 'cpu')
    # The first episodes of the list, not those that share images.
    cfg.test_dataloader.sampler = dict(type='DefaultSampler', shuffle=False)
    return model, Runner.build_dataloader(cfg.test_dataloader)


def ensembles(model, features, bank) -> dict[str, Tensor]:
    """Scores (B, 2, h, w) of every variant, and the base learner's foreground as one more."""
    query, bank = model.encode_query(features), model.finish(bank)
    bank = bank.with_comparison(model.compare(query, bank))
    scores, meta = model.segment(query, bank), model.decode_head(query.heads['meta'], bank.part('meta'))
    background, own = scores['meta'].softmax(1).split(1, dim=1)  # (B, 1, h, w) each
    base = scores['base'].softmax(1)[:, 1:].sum(1, keepdim=True)
    w1, w2 = model.merge_adjustment.weight.flatten()
    v1, _ = model.merge_base.weight.flatten()
    psi = meta.adjustment.expand_as(background)
    variants = {
        'learnt (final)': scores['final'],
        'learnt, v2 = 0': torch.cat([v1 * (w1 * background + w2 * psi), w1 * own + w2 * psi], dim=1),
    }
    for v2 in PLAIN:
        variants[f'plain, v2 = {v2:g}'] = torch.cat([background + v2 * base, own], dim=1)
    return {**variants, 'base': torch.cat([1 - base, base], dim=1)}


@torch.no_grad()
def sweep(model, loader, episodes: int) -> tuple[dict, tuple[str, ...]]:
    """Counts (tn, fp, fn, tp) by (variant, class id), over the first ``episodes`` episodes."""
    counts, done = {}, 0
    for batch in tqdm(loader, total=-(-episodes // loader.batch_size)):
        data = model.data_preprocessor(batch)
        inputs, size = data['inputs'], data['inputs']['query'].shape[-2:]
        features = model.extract_feat(inputs['query'])
        bank = model.encode_support(inputs['support'], inputs['support_mask'])
        for name, scores in ensembles(model, features, bank).items():
            samples = model.attach_predictions({'final': scores}, size, data['data_samples'])
            for sample in samples[: episodes - done]:
                found = confusion(sample.pred_sem_seg.data[0].numpy(), sample.gt_sem_seg.data[0].numpy(), 255)
                key = (name, sample.class_id)
                counts[key] = [a + b for a, b in zip(counts.get(key, (0, 0, 0, 0)), found, strict=True)]
        done += len(data['data_samples'])
        if done >= episodes:
            break
    return counts, loader.dataset.metainfo['class_names']


@plain_errors('ensemble_sweep')
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of a BaseLearnerEnsemble')
    parser.add_argument('checkpoint')
    parser.add_argument('--episodes', type=int, default=240, help='test episodes to score (240)')
    add_shots_option(parser)
    add_run_options(parser)
    args = parser.parse_args()
    model, loader = build(load_config(args, parser), args.checkpoint)
    if not hasattr(model, 'merge_base'):
        parser.error(f'{args.config} has no ensemble: its model is a {type(model).__name__}')
    counts, names = sweep(model, loader, args.episodes)
    classes = sorted({class_id for _, class_id in counts})
    print(f'w = {model.merge_adjustment.weight.flatten().tolist()}, v = {model.merge_base.weight.flatten().tolist()}\n')
    print(f'| ensemble | {" | ".join(names[c] for c in classes)} | mIoU |\n|---|{"---|" * (len(classes) + 1)}')
    for name in dict.fromkeys(name for name, _ in counts if name != 'base'):
        ious = [100 * tp / max(fp + fn + tp, 1) for _, fp, fn, tp in (counts[name, c] for c in classes)]
        print(f'| {name} | {" | ".join(f"{iou:.1f}" for iou in ious)} | {sum(ious) / len(ious):.1f} |')
    shares = (100 * tp / max(fn + tp, 1) for _, _, fn, tp in (counts['base', c] for c in classes))
    print(
        '\nShare of the novel pixels that the base learner gives to base classes: '
        + ', '.join(f'{names[c]} {share:.0f} %' for c, share in zip(classes, shares, strict=True))
    )


if __name__ == '__main__':
    main()
