#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""How well is told whether an image shows the class at all, and what is marked where it does not?

    python tools/analysis_tools/presence_benchmark.py CONFIG CHECKPOINT --folder data/mine
    python tools/analysis_tools/presence_benchmark.py CONFIG CHECKPOINT --data-root DATA/VOC2012 --fold 1

Of each class, K images are the supports; queries are further images of the class, and as many images of other classes
which do not show it. Without --folder (class folders as FSS-1000 has them) the images are those of the config's test
data. For every output of the model: image-level AUROC of the presence score and, to compare, of the largest and of the
mean foreground probability; the area marked in images without the object; and what --min-score of demo/segment.py would
leave. Writes presence.json and presence.md.
"""

import argparse
import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from tqdm import tqdm

from mmfss.apis import FewShotInferencer
from mmfss.apis.images import load_image
from mmfss.datasets import FewShotSegDataset
from mmfss.datasets.folder import class_folders
from mmfss.datasets.protocols import KeyedRandom
from mmfss.datasets.transforms import LoadFewShotAnnotations
from mmfss.engine.cli import add_run_options, load_config
from mmfss.engine.model_loading import load_model
from mmfss.evaluation import at_min_score, auroc, false_positives, mean_auroc
from mmfss.evaluation.functional import confusion, foreground_iou
from mmfss.models.layers import presence_score
from mmfss.models.segmentors import FewShotSegmentor
from mmfss.models.segmentors.presence import PRESENCE
from mmfss.registry import DATASETS
from mmfss.utils.files import atomic_write_json, atomic_write_text
from mmfss.utils.plain_errors import plain_errors

CURE = 'Free some space or choose another --out'
MIN_SCORES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6)
SCORES = ('presence', 'max probability', 'mean probability')


def load_images(cfg: Config, folder: str | None) -> tuple[FewShotSegDataset, tuple[int, ...]]:
    """The images that are drawn from, and the classes that are asked for: all class folders, or a config's novel ones.

    Raises:
        FileNotFoundError: When there is no such folder.
        ValueError: When it has fewer than two class folders.
    """
    if folder is None:
        data = DATASETS.build(cfg.test_dataloader.dataset.dataset)
        data.full_init()
        return data, data.novel_class_ids
    if not Path(folder).is_dir():
        raise FileNotFoundError(f'there is no folder {folder}; set it with --folder')
    classes = class_folders(folder)
    if len(classes) < 2:
        raise ValueError(f'{folder} has {len(classes)} class folders; images of another class need two')
    # A data set wants base and novel classes; who is which plays no part here.
    data = DATASETS.build(
        dict(type='FolderFewShotDataset', data_root=folder, novel_classes=classes[-1:], phase='val', test_mode=True)
    )
    data.full_init()
    return data, (*data.base_class_ids, *data.novel_class_ids)


def draw(data: FewShotSegDataset, class_id: int, args: argparse.Namespace, number: int) -> dict[str, list[int]]:
    """Positions of the supports, of queries that show the class and of queries that do not; {} for too few images."""
    others = [c for c in (*data.base_class_ids, *data.novel_class_ids) if c != class_id]
    own = sorted({int(i) for other in others for i in data.pool(class_id, other)})  # no image shows all the others
    others = sorted({int(i) for other in others for i in data.pool(other, class_id)})
    if len(own) < max(args.min_images, args.shots + 1) or not others:
        return {}
    choices = KeyedRandom(args.seed, class_id, number)
    chosen = choices.sample(own, min(len(own), args.shots + args.queries))
    absent = choices.sample(others, min(len(others), args.queries))
    return dict(supports=chosen[: args.shots], present=chosen[args.shots :], absent=absent)


def labels_of(data: FewShotSegDataset, position: int, class_id: int) -> np.ndarray:
    """(H, W) uint8: 1 where the class is, 255 where nobody knows, else 0."""
    return LoadFewShotAnnotations()(dict(data.describe(position), class_id=class_id))['gt_seg_map']


@torch.no_grad()
def segment(inferencer: FewShotInferencer, bank, path: str) -> Iterator[tuple[str, np.ndarray, dict[str, float]]]:
    """Of every output its name, its mask (H, W) and the scores of the image."""
    model, geometry = inferencer.model, inferencer.geometry
    packed = geometry.query(load_image(path, geometry.loader, path))
    sample = packed['data_samples']
    inputs = model.data_preprocessor.query_inputs([packed['inputs']], [sample])
    padding = inputs['query_padding']
    found = model.segment_images(inputs['query'], [bank], padding, inputs['episode_seed'])[0]
    for name, score in found.items():
        if score.shape[1] != 2:
            continue
        logits = partial(FewShotSegmentor.foreground_probability, model)
        probability = (model.foreground_probability if name == 'final' else logits)(score)  # (1, h, w)
        scores = (
            presence_score(found[PRESENCE], probability, padding).item(),
            probability.max().item(),
            probability.mean().item(),
        )
        mask = model.restore(score, inputs['query'].shape[-2:], sample).argmax(0).byte().cpu().numpy()
        yield name, mask, dict(zip(SCORES, scores, strict=True))


def collect(
    inferencer: FewShotInferencer, data: FewShotSegDataset, class_ids: Sequence[int], args: argparse.Namespace
) -> dict[str, list[dict]]:
    """A row for every output and query: class, whether it is there, scores, marked share and pixel counts.

    Raises:
        ValueError: When no class has images enough.
    """
    draws = [(c, draw(data, c, args, number)) for c in class_ids for number in range(args.draws)]
    draws = [(class_id, positions) for class_id, positions in draws if positions]
    if not draws:
        raise ValueError(f'no class has the {args.shots + 1} images that {args.shots} supports and a query need')
    rows: dict[str, list[dict]] = {}
    for class_id, positions in tqdm(draws, unit='class'):
        name = data.class_names[class_id]
        supports = positions['supports']
        paths, labels = zip(
            *((data.describe(i)['img_path'], labels_of(data, i, class_id)) for i in supports), strict=True
        )
        bank = inferencer.register(name, list(paths), list(labels)).bank
        for kind in ('present', 'absent'):
            for position in positions[kind]:
                truth = labels_of(data, position, class_id)
                for output, mask, scores in segment(inferencer, bank, data.describe(position)['img_path']):
                    counts = confusion(mask, truth).tolist()
                    row = dict(name=name, present=kind == 'present', area=float(mask.mean()), counts=counts, **scores)
                    rows.setdefault(output, []).append(row)
    return rows


def mean_iou(rows: list[dict], min_score: float = 0) -> float:
    """Mean IoU in percent over the images that show the object; those below the score count as left empty."""
    counts = {}
    for row in (row for row in rows if row['present']):
        tn, fp, fn, tp = row['counts']
        kept = not min_score or row['presence'] >= min_score
        counts.setdefault(row['name'], []).append((tn, fp, fn, tp) if kept else (tn + fp, 0, fn + tp, 0))
    return 100 * float(np.mean([foreground_iou(np.sum(found, axis=0)) for found in counts.values()]))


def summarise(rows: list[dict]) -> dict:
    """The measures of one output, in percent but for the AUROCs."""
    names, present, areas = ([row[key] for row in rows] for key in ('name', 'present', 'area'))
    scores = {key: [row[key] for row in rows] for key in SCORES}
    area, marked = false_positives(areas, present)
    levels = []
    for level in MIN_SCORES:
        left = at_min_score(scores['presence'], areas, present, level)
        percent = {key: 100 * value for key, value in left.items()}
        levels.append(dict(min_score=level, **percent, mIoU=mean_iou(rows, level)))
    return dict(
        images=len(rows),
        AUROC={key: auroc(values, present) for key, values in scores.items()},
        mean_class_AUROC={key: mean_auroc(values, present, names) for key, values in scores.items()},
        false_positive_area=100 * area,
        marked_without_object=100 * marked,
        mIoU=mean_iou(rows),
        min_score=levels,
    )


def markdown(title: str, outputs: dict[str, dict]) -> str:
    """Two tables: the outputs, and what smallest scores do to each."""
    lines = [
        title,
        '',
        f'| output | {" | ".join(f"AUROC, {key}" for key in SCORES)} | false-positive area | marked at all | mIoU |',
        '|---|' + '---:|' * (len(SCORES) + 3),
    ]
    for name, found in outputs.items():
        cells = [f'{found["AUROC"][key]:.3f} ({found["mean_class_AUROC"][key]:.3f})' for key in SCORES]
        numbers = (found['false_positive_area'], found['marked_without_object'], found['mIoU'])
        lines.append(f'| {name} | {" | ".join([*cells, *(f"{number:.1f}" for number in numbers)])} |')
    lines += [
        '',
        'AUROC over all images (mean over classes); area in percent of images without the object.',
        '',
        '| output | min score | kept with the object | kept without | false-positive area | mIoU |',
        '|---|' + '---:|' * 5,
    ]
    for name, found in outputs.items():
        for level in found['min_score']:
            numbers = ' | '.join(f'{level[key]:.1f}' for key in ('TPR', 'FPR', 'false_positive_area', 'mIoU'))
            lines.append(f'| {name} | {level["min_score"]:g} | {numbers} |')
    return '\n'.join(lines) + '\n'


def parse_args(argv: list[str] | None = None) -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    """The options of this tool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file of stage 2')
    parser.add_argument('checkpoint', help='checkpoint file, or `none` for a method that learns nothing')
    parser.add_argument('--folder', metavar='ROOT', help='folder of class folders, CLASS/K.jpg with CLASS/K.png')
    parser.add_argument('--shots', type=int, default=1, help='supports of each class (%(default)s)')
    parser.add_argument('--queries', type=int, default=20, help='queries with and without it, each (%(default)s)')
    parser.add_argument('--draws', type=int, default=1, help='draws of supports and queries for a class (%(default)s)')
    parser.add_argument('--min-images', type=int, default=2, help='leave out classes with fewer (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the draws (%(default)s)')
    parser.add_argument('--device', help="such as 'cuda:0' or 'cpu'")
    parser.add_argument('--out', type=Path, default=Path('work_dirs/presence_benchmark'), help='(%(default)s)')
    add_run_options(parser)
    args = parser.parse_args(argv)
    if min(args.shots, args.queries, args.draws) < 1 or args.seed < 0:
        parser.error('--shots, --queries and --draws are whole numbers of at least 1, --seed of at least 0')
    return args, parser


@plain_errors('presence_benchmark')
def main(argv: list[str] | None = None) -> int:
    """Measure, print and write both files."""
    args, parser = parse_args(argv)
    cfg = load_config(args, parser)
    data, class_ids = load_images(cfg, args.folder)
    model, _ = load_model(cfg, args.checkpoint, args.device)
    inferencer = FewShotInferencer(cfg, model=model, show_progress=False)
    outputs = {name: summarise(rows) for name, rows in collect(inferencer, data, class_ids, args).items()}
    images = next(iter(outputs.values()))['images']
    title = f'{Path(args.config).name}, {args.checkpoint}: {images} queries, {args.shots}-shot, seed {args.seed}'
    table = markdown(title, outputs)
    atomic_write_json(dict(title=title, outputs=outputs), args.out / 'presence.json', CURE)
    atomic_write_text(table, args.out / 'presence.md', CURE)
    print(f'\n{table}\n{args.out / "presence.json"}\n{args.out / "presence.md"}')
    return 0


if __name__ == '__main__':
    logging.disable(logging.INFO)  # mmengine tells every environment variable that a config reads
    raise SystemExit(main())
