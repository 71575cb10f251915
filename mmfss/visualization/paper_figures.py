# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The rows of MSANet's Figures 5 to 7, and which episodes stand in them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.structures import BaseDataElement
from torch import nn

from mmfss.datasets import EpisodicDataset
from mmfss.datasets.image_files import read_rgb
from mmfss.evaluation.functional import foreground_iou
from mmfss.structures import prediction_key

from .contact_sheet import to_rgb
from .episode_visualizer import EpisodeVisualizer, episode_iou
from .figure_grid import heat_map
from .sheet import Panel

Row = tuple[str, list[Panel]]


@dataclass(frozen=True)
class SegmentedEpisode:
    """A test episode and what a model makes of it.

    Attributes:
        query (np.ndarray): (h, w, 3) uint8 RGB.
        sample (BaseDataElement): The query's sample, with ground truth and predictions.
        supports (list): K pairs of image, as the network saw it, and sample with mask.
        similarities (dict[int, np.ndarray]): Mean similarity map (H, W) of each block group that was asked for.
    """

    query: np.ndarray
    sample: BaseDataElement
    supports: list[tuple[np.ndarray, BaseDataElement]]
    similarities: dict[int, np.ndarray]

    def iou(self, output: str = 'final') -> float:
        """Foreground IoU in percent."""
        return episode_iou(
            self.sample.get(prediction_key(output)).data[0].numpy(), self.sample.gt_sem_seg.data[0].numpy()
        )


@torch.no_grad()
def segment_episode(
    model: nn.Module, dataset: EpisodicDataset, index: int, groups: Sequence[int] = ()
) -> SegmentedEpisode:
    """Segment one test episode.

    Args:
        model (nn.Module): A FewShotSegmentor in eval mode.
        dataset (EpisodicDataset): With a protocol or a list.
        index (int): Of the episode.
        groups (Sequence[int]): Block groups whose similarity maps are wanted, see :func:`check_groups`.
    """
    item = dataset[index]
    data = model.data_preprocessor(pseudo_collate([item]))
    inputs, size = data['inputs'], data['inputs']['query'].shape[-2:]
    query = model.encode_query(model.extract_feat(inputs['query']))
    bank = model.encode_support(inputs['support'], inputs['support_mask'])
    (sample,) = model.attach_predictions(model.segment(query, bank), size, data['data_samples'])
    maps = group_similarities(model.decode_head, query.heads['meta'], bank.part('meta'), groups)
    supports = [
        (to_rgb(image), own)
        for image, own in zip(item['inputs']['support'], item['data_samples']['support'], strict=True)
    ]
    return SegmentedEpisode(
        read_rgb(sample.img_path),
        sample.cpu(),
        supports,
        {group: model.restore(m, size, sample)[0].cpu().numpy() for group, m in zip(groups, maps, strict=True)},
    )


class RowMaker:
    """Makes segmented episodes rows of :func:`mmfss.visualization.figure_grid.compose_grid`.

    Args:
        dataset_meta (dict): Metainfo of the episodes.
        height (int): Height of the panels, pixels. Defaults to 200.
    """

    def __init__(self, dataset_meta: dict, height: int = 200):
        self.height = height
        self.visualizer = EpisodeVisualizer('paper_figures', outputs=(), height=height)
        self.visualizer.dataset_meta = dataset_meta

    def outcome(self, episode: SegmentedEpisode, outputs: Sequence[str] | None = None) -> Row:
        """Figures 5 and 7: supports, query with ground truth, then outputs with their IoU.

        Args:
            episode (SegmentedEpisode): To draw.
            outputs (Sequence[str], optional): Names such as 'meta', 'prototype', 'final'. Defaults to None: 'meta' and
                'final' as far as the model gives them.

        Raises:
            ValueError: When the model gives no such binary output.
        """
        given = [key[5:-4] for key in sorted(episode.sample.keys()) if key.startswith('pred_')]
        given = ['final' if name == 'sem' else name for name in given if name != 'base']
        if missing := [name for name in outputs or () if name not in given]:
            raise ValueError(f'this model gives no binary output {", ".join(missing)}; it gives {", ".join(given)}')
        return self._row(episode, outputs or [name for name in ('meta', 'final') if name in given])

    def similarity(self, episode: SegmentedEpisode) -> Row:
        """Figure 6: supports, query with ground truth, then the mean similarity map of each block group."""
        label, panels = self._row(episode)
        for group, values in episode.similarities.items():
            panels.append(
                Panel(
                    f'Blocks of layer {group}',
                    [heat_map(episode.query, values, self.height)],
                    note=f'{values.min():.2f} to {values.max():.2f}',
                )
            )
        return label, panels

    def _row(self, episode: SegmentedEpisode, outputs: Sequence[str] = ()) -> Row:
        self.visualizer.outputs = tuple(outputs)
        return episode.sample.class_name, self.visualizer.episode_panels(
            episode.query, episode.sample, episode.supports
        )


def group_similarities(head: nn.Module, features, bank, groups: Sequence[int]) -> list[torch.Tensor]:
    """Mean similarity map of each block group.

    Args:
        head (nn.Module): An MSANetHead, see :func:`check_groups`.
        features (BackboneFeatures): Of B queries, encoded.
        bank (SupportBank): The head's part.
        groups (Sequence[int]): Layers whose blocks are averaged.

    Returns:
        list[Tensor]: (B, 1, h, w), at the size of layer3, for each of ``groups``.
    """
    if not groups:
        return []
    maps = head.similarity_maps(features, bank)
    owner = [group for group in head.block_groups for _ in features.blocks[f'layer{group}']]  # the layer of each map
    return [torch.stack([m for m, own in zip(maps, owner, strict=True) if own == group]).mean(0) for group in groups]


def check_groups(head: nn.Module, groups: Sequence[int] | None) -> tuple[int, ...]:
    """The block groups whose maps can be drawn.

    Args:
        head (nn.Module): The model's meta head.
        groups (Sequence[int], optional): Those asked for; None asks for all that the head compares.

    Raises:
        ValueError: When the head makes no similarity maps, or none of a group that is asked for.
    """
    if not hasattr(head, 'similarity_maps'):
        raise ValueError(f'{type(head).__name__} makes no similarity maps: the figure needs an MSANetHead')
    if 'similarity' not in head.parts:
        raise ValueError(
            f'this {type(head).__name__} makes no similarity maps: it was built with '
            f"parts={sorted(head.parts)}; the figure needs 'similarity' among them"
        )
    if missing := sorted(set(groups or ()) - set(head.block_groups)):
        raise ValueError(
            f'this {type(head).__name__} compares the blocks of layers {head.block_groups} only '
            f'(block_groups): it has no map of {missing}'
        )
    return tuple(groups or head.block_groups)


def one_of_each_class(dataset: EpisodicDataset, run: int = 0) -> list[int]:
    """The first episode of each class in a run, as indices of ``dataset``, classes in their order."""
    dataset.full_init()
    first = {}
    for index, episode in enumerate(dataset.episodes):
        if episode.run == run:
            first.setdefault(dataset.dataset.class_names.index(episode.class_name), index)
    if not first:
        raise ValueError(f'there is no run {run}: the test has the runs {sorted({e.run for e in dataset.episodes})}')
    return [first[class_id] for class_id in sorted(first)]


def indices_by_number(dataset: EpisodicDataset, numbers: Sequence[int], run: int = 0) -> list[int]:
    """Indices of episodes given by their numbers in a run (as on the sheets of ``tools/test.py --show-dir``)."""
    places = _places(dataset)
    if missing := [n for n in numbers if (run, n) not in places]:
        last = max((e.episode for e in dataset.episodes if e.run == run), default=None)
        known = f'it has 0 to {last}' if last is not None else 'there is no such run'
        raise ValueError(f'run {run} has no episode {", ".join(map(str, missing))}: {known}')
    return [places[run, n] for n in numbers]


def _places(dataset: EpisodicDataset) -> dict[tuple[int, int], int]:
    """(run, number in it) -> index in ``dataset``."""
    dataset.full_init()
    return {(e.run, e.episode): index for index, e in enumerate(dataset.episodes)}


def worst_episodes(
    report: dict, dataset: EpisodicDataset, number: int, output: str = 'final', of_class: int | None = None
) -> dict[int, float]:
    """Indices of a result file's lowest IoUs, each query once; among equal ones the larger object comes first.

    Args:
        report (dict): Of :func:`mmfss.evaluation.read_report`.
        dataset (EpisodicDataset): The episodes that the report is about.
        number (int): How many.
        output (str): Whose IoU. Defaults to 'final'.
        of_class (int, optional): At most so many of a class. Defaults to None: no limit.

    Returns:
        dict[int, float]: Index in ``dataset`` -> IoU in percent, the worst first.

    Raises:
        ValueError: When the report is about other episodes, or has no such output.
    """
    differing = [
        f'{key} {report.get(key)} instead of {dataset.metainfo[key]}'
        for key in ('fold', 'shots', 'protocol', 'support_control', 'support_annotation', 'episodes_hash')
        if (report.get(key) or None) != (dataset.metainfo[key] or None)
    ]
    if differing:
        raise ValueError(
            f'the result file was measured on other episodes than these: {", ".join(differing)}. Give the config '
            'and the options of that test: --fold, --data-root, --candidate-area, --protocol, '
            '--episodes-file, --support-control, --support-annotation'
        )
    if output not in report['summary']:
        raise ValueError(f'the result file has no output {output}; it has {", ".join(report["summary"])}')
    rows = []
    for row in report['episodes']:
        counts = row['counts'][output]
        rows.append((100 * float(foreground_iou(counts)), -(counts[2] + counts[3]), row['run'], row['episode'], row))
    found, queries, taken, places = {}, set(), {}, _places(dataset)
    for iou, _, run, episode, row in sorted(rows, key=lambda entry: entry[:4]):
        class_id = row['class_id']
        if (class_id, row['query']) in queries or taken.get(class_id, 0) == of_class:
            continue
        queries.add((class_id, row['query']))
        taken[class_id] = taken.get(class_id, 0) + 1
        found[places[run, episode]] = iou
        if len(found) == number:
            break
    return found
