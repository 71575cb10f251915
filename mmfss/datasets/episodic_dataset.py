# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""EpisodicDataset: an item is one query and K supports of the same class."""

import hashlib
import json
import logging
import warnings
from collections.abc import Sequence

import numpy as np
from mmengine.dataset import Compose
from mmengine.logging import print_log
from torch.utils.data import Dataset

from mmfss.registry import DATASETS, TASK_UTILS

from .episodes import Episode, check_episodes, check_images, episodes_hash, read_episodes
from .few_shot_dataset import FewShotSegDataset
from .pipelines import annotation_kind, build_transforms, with_weak_annotation
from .sampling import ImageSampler, check_draws, training_sampler
from .support_control import wrong_supports
from .transforms.loading import CorruptFileError

MAX_DRAWS = 100  # corrupt files in a row before training gives up
NO_BASE_CLASS = -1


@DATASETS.register_module()
class EpisodicDataset(Dataset):
    """Episodes over a :class:`FewShotSegDataset`.

    Without protocol (training) the items are drawn anew each time, as sampling.py says. With a protocol or a file
    (validation and test) they are fixed episodes.

    An item is ``dict(inputs=dict(query=(3, H, W), support=[K x (3, H, W)]),
    data_samples=dict(query=SegDataSample, support=[K x SegDataSample]))``.

    Args:
        dataset (dict | FewShotSegDataset): Images, masks and candidates.
        shots (int): K. Defaults to 1.
        query_pipeline (sequence): Transforms of the query. In test it loads the annotation after
            the geometry, so that predictions are scored at original size.
        support_pipeline (sequence): Transforms of each support; annotation before geometry.
        protocol (dict | EpisodeProtocol, optional): Draws the episodes of an evaluation.
        support_control (str, optional): 'wrong_novel' or 'base' replaces the supports of every
            episode by images and masks of a wrong novel class or of a base class; queries, classes
            and ground truth stay. Correct minus wrong measures how much a model depends on them.
        episodes_file (str, optional): A frozen list to use instead of the protocol's draws.
        support_annotation (str | dict, optional): 'box', 'scribble' or 'point' replaces the masks
            of the supports, in training and test alike; a dict adds further arguments of
            :class:`mmfss.datasets.transforms.WeakAnnotation`. In test it follows from the episode.
        class_power (float, optional): Training draws a class of n candidates with probability
            n**class_power: 0 all equally often, 1 as often as it has images. For data where a few
            classes hold most images. None: every image once an epoch, as published methods do.
        every_pair (bool): Training takes every pair of a class and one of its candidates as class and
            query once an epoch, as HSNet does on PASCAL-5i. Defaults to False.
        lazy_init (bool): Whether to wait with reading lists until the first use.

    Raises:
        ValueError: When episodes cannot be drawn, or a list was made for other data or shots.
    """

    def __init__(
        self,
        dataset,
        *,
        shots: int = 1,
        query_pipeline: Sequence = (),
        support_pipeline: Sequence = (),
        protocol=None,
        support_control: str | None = None,
        episodes_file: str | None = None,
        support_annotation: str | dict | None = None,
        class_power: float | None = None,
        every_pair: bool = False,
        lazy_init: bool = False,
    ) -> None:
        if not isinstance(shots, int) or shots < 1:
            raise ValueError(f'`shots` is {shots!r}; it must be a whole number of at least 1.')
        if support_control not in (None, 'wrong_novel', 'base'):
            raise ValueError(f"`support_control` is {support_control!r}; it must be None, 'wrong_novel' or 'base'.")
        if support_control and protocol is None and episodes_file is None:
            raise ValueError(
                '`support_control` is a control of evaluation: give a `protocol` or an `episodes_file` too.'
            )
        check_draws(class_power, every_pair, training=protocol is None and episodes_file is None)
        if isinstance(dataset, dict):
            dataset = DATASETS.build({**dataset, 'lazy_init': True})
        if not isinstance(dataset, FewShotSegDataset):
            raise TypeError(f'`dataset` must be a FewShotSegDataset, is {type(dataset).__name__}.')
        self.dataset, self.shots = dataset, shots
        self.query_pipeline = Compose(build_transforms(query_pipeline))
        supports = build_transforms(support_pipeline)
        if support_annotation is not None:
            supports = with_weak_annotation(supports, support_annotation)
        self.support_annotation = annotation_kind(supports)
        self.support_pipeline = Compose(supports)
        self.protocol = TASK_UTILS.build(protocol) if isinstance(protocol, dict) else protocol
        self.support_control = support_control
        self.episodes_file = episodes_file
        self.class_power, self.every_pair = class_power, every_pair
        self.episodes: list[Episode] = []
        self._told_empty = False
        self._ready = False
        if not lazy_init:
            self.full_init()

    @property
    def training(self) -> bool:
        """Whether episodes are drawn anew each time."""
        return self.protocol is None and self.episodes_file is None

    # ------------------------------------------------------------------ lists

    def full_init(self) -> None:
        """Read the lists of the data set and fix the episodes; later calls do nothing."""
        if self._ready:
            return
        self.dataset.full_init()
        if self.training:
            self._prepare_training()
        else:
            self._prepare_evaluation()
        self._base_label_map = self.dataset.base_label_map
        self._ready = True

    def _prepare_training(self) -> None:
        self._sampler = training_sampler(self.dataset, self.shots, self.class_power, self.every_pair)
        self._eval_class_ids = self._sampler.class_ids
        self._header = dict(protocol=None, missing_classes_as_zero=False)

    def _prepare_evaluation(self) -> None:
        data = self.dataset
        if self.episodes_file is not None:
            self._header, self.episodes = read_episodes(self.episodes_file)
        else:
            self.episodes = self.protocol.sample(data, self.shots)
            eval_classes = self.protocol.eval_classes(data)
            self._header = dict(
                protocol=self.protocol.name,
                seed=self.protocol.seed,
                fold=data.fold,
                shots=self.shots,
                dataset=type(data).__name__,
                missing_classes_as_zero=self.protocol.missing_classes_as_zero,
                eval_classes=[data.class_names[c] for c in eval_classes],
            )
        check_episodes(self.episodes, self._header, data, self.shots, self.episodes_file)
        self._eval_class_ids = tuple(data.class_names.index(name) for name in self._header['eval_classes'])
        self._hash = episodes_hash(self.episodes)
        self._class_ids = np.array([data.class_names.index(e.class_name) for e in self.episodes])
        names = [name for e in self.episodes for name in (e.query, *e.supports)]
        places = data.positions_of(names).reshape(-1, 1 + self.shots)  # (E, 1 + K)
        check_images(self.episodes, places, data, self.episodes_file)
        self._query_places, self._support_places = places[:, 0], places[:, 1:]
        self._support_class_ids = self._class_ids
        if self.support_control is not None:
            self._support_class_ids, self._support_places = wrong_supports(
                data, self._class_ids, self._query_places, self.shots, self._hash, kind=self.support_control
            )

    # ------------------------------------------------------------------ what others read

    @property
    def metainfo(self) -> dict:
        """What metric, visualizer and checkpoint know about the episodes."""
        self.full_init()
        data = self.dataset
        return dict(
            classes=('background', 'foreground'),
            palette=[[0, 0, 0], [220, 20, 60]],
            class_names=data.class_names,
            fold=data.fold,
            base_class_ids=data.base_class_ids,
            novel_class_ids=data.novel_class_ids,
            eval_class_ids=self._eval_class_ids,
            shots=self.shots,
            protocol=self._header['protocol'],
            episodes_hash=None if self.training else self._hash,
            num_runs=1 if self.training else 1 + max(e.run for e in self.episodes),
            support_control=self.support_control,
            support_annotation=self.support_annotation,
            missing_classes_as_zero=bool(self._header['missing_classes_as_zero']),
        )

    @property
    def header(self) -> dict:
        """Header for :func:`write_episodes`."""
        self.full_init()
        return {key: value for key, value in self._header.items() if key not in ('format', 'hash')}

    def __len__(self) -> int:
        self.full_init()
        return len(self._sampler) if self.training else len(self.episodes)

    def images_of_episodes(self) -> tuple[list[int], list[list[tuple[int, int]]]]:
        """Which images the E fixed episodes show.

        Returns:
            tuple: Positions of the queries (E), and (class, position) of their K supports (E, K).
        """
        self.full_init()
        pairs = zip(self._support_class_ids.tolist(), self._support_places.tolist(), strict=True)
        supports = [[(class_id, place) for place in places] for class_id, places in pairs]
        return self._query_places.tolist(), supports

    # ------------------------------------------------------------------ items

    def __getitem__(self, index: int) -> dict:
        self.full_init()
        if not -len(self) <= index < len(self):
            raise IndexError(f'episode {index} of {len(self)}')
        index %= len(self)
        if not self.training:
            return self._fixed_item(index)
        for _ in range(MAX_DRAWS):
            try:
                return self._drawn_item(index)
            except CorruptFileError as error:
                warnings.warn(f'{error} Another episode is drawn.', RuntimeWarning, stacklevel=2)
                index = np.random.randint(len(self))
        raise RuntimeError(
            f'{MAX_DRAWS} episodes in a row held a corrupt file. See the warnings above for their names.'
        )

    def _fixed_item(self, index: int) -> dict:
        """Episode of an evaluation."""
        episode = self.episodes[index]
        return self._item(
            int(self._class_ids[index]),
            self._query_places[index],
            self._support_places[index],
            int(self._support_class_ids[index]),
            run=episode.run,
            episode=episode.episode,
        )

    def _drawn_item(self, index: int) -> dict:
        """Episode of a training, drawn anew."""
        class_id, query, supports = self._sampler.draw(index)
        return self._item(class_id, query, supports, class_id, run=0, episode=index)

    def _item(
        self,
        class_id: int,
        query_place: int,
        support_places: Sequence[int],
        support_class_id: int,
        *,
        run: int,
        episode: int,
    ) -> dict:
        supports = [self._support(place, support_class_id, run, episode) for place in support_places]
        query = self.describe_query(query_place, class_id)
        query.update(
            run=run,
            episode=episode,
            support_names=[self.dataset.name(place) for place in support_places],
            support_paths=[s['data_samples'].img_path for s in supports],
        )
        query = self.query_pipeline(query)
        return dict(
            inputs=dict(query=query['inputs'], support=[s['inputs'] for s in supports]),
            data_samples=dict(query=query['data_samples'], support=[s['data_samples'] for s in supports]),
        )

    def describe_query(self, place: int, class_id: int) -> dict:
        """What the query pipeline starts from, for the image at a position of the whole list."""
        base = self.dataset.base_class_ids
        return dict(
            self.describe_support(place, class_id),
            base_index=base.index(class_id) if class_id in base else NO_BASE_CLASS,
        )

    def describe_support(self, place: int, class_id: int) -> dict:
        """What the support pipeline starts from, for the image at a position of the whole list."""
        return dict(
            self.dataset.describe(place),
            class_id=class_id,
            class_name=self.dataset.class_names[class_id],
            base_label_map=self._base_label_map,
        )

    @property
    def sampler(self) -> ImageSampler:
        """What draws the episodes of a training."""
        self.full_init()
        return self._sampler

    def _support(self, place: int, class_id: int, run: int, episode: int) -> dict:
        results = self.describe_support(place, class_id)
        if not self.training:
            results.update(annotation_seed=_seed(run, episode, class_id, results['name']))
        path = results['seg_map_path']
        results = self.support_pipeline(results)
        mask = results['data_samples'].gt_sem_seg.data
        if not self._told_empty and not (mask == 1).any():
            self._told_empty = True
            print_log(
                f'A support mask is empty: no pixel of {self.dataset.class_names[class_id]} is '
                f'left of {path} after its pipeline. The episode is used as it is. This is reported once. '
                + (
                    'Augmentation can cause this occasionally.'
                    if self.training
                    else f'A larger `candidate_area` (now {self.dataset.candidate_area}) avoids it.'
                ),
                'current',
                logging.WARNING,
            )
        return results


def _seed(*key: int | str) -> int:
    """A number that follows from an episode and a support, whatever process asks for it."""
    return int.from_bytes(hashlib.sha256(json.dumps([str(part) for part in key]).encode()).digest()[:8], 'big')
