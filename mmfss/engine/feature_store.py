# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Feature stores: frozen features of fixed augmented views, computed once and then read in place of images."""

import datetime
import hashlib
import json
import logging
import shutil
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from mmengine.dist import barrier, get_rank, get_world_size, is_main_process
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmfss.datasets import FixedViews
from mmfss.datasets.fixed_views import views_collate
from mmfss.models import EpisodeDataPreProcessor, FewShotSegmentor
from mmfss.structures import FeatureFile, MapPlan
from mmfss.structures.feature_file import PENDING, UNUSABLE, Field, lay_out, row_bytes
from mmfss.utils.plain_errors import StopError
from mmfss.utils.precision import fast_bfloat16
from mmfss.utils.weights import add_weights

from .feature_store_options import StoreOptions, check_model

FORMAT = 1  # raise it when what is kept changes its meaning
_SPARE = 2**28  # bytes of a disk that are left free
_TELL_EVERY = 10  # seconds between lines about the progress
_TELL_AFTER = 5  # seconds of waiting for another training
_AHEAD = 4  # batches that wait to be written


def open_store(
    model: FewShotSegmentor, views: FixedViews, options: StoreOptions, optim_wrapper: OptimWrapper, workers: int = 0
) -> FeatureFile:
    """The store of these views, computed as far as it is not there; every process calls this.

    Args:
        model (FewShotSegmentor): Its backbone makes the features, in the precision of training.
        views (FixedViews): What to keep.
        options (StoreOptions): How.
        optim_wrapper (OptimWrapper): Its context is the precision.
        workers (int): Processes that load and augment images.

    Raises:
        StopError: When the disk has too little room.
        RuntimeError: When the processes do not see the same folder.
    """
    check_model(model)
    training = model.training
    model.train()  # as in a step: comparison heads read nothing, autocast is on
    builder = _Builder(model, views, options, optim_wrapper)
    try:
        with torch.no_grad():
            if is_main_process() and not builder.complete():
                with _locked(builder.folder):
                    builder.create()
                    if get_world_size() == 1:
                        builder.fill(workers)
            barrier()
            if get_world_size() > 1:
                builder.fill(workers)
                barrier()
    finally:
        model.train(training)
    return builder.finished()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One training at a time makes a store; others wait and then find it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str(folder / 'lock'))
    try:
        lock.acquire(timeout=_TELL_AFTER)
    except Timeout:
        _say(f'Feature store: another training makes it (it holds {lock.lock_file}); waiting.')
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


class _Builder:
    """One store while it is made."""

    def __init__(self, model: FewShotSegmentor, views: FixedViews, options: StoreOptions, optim_wrapper: OptimWrapper):
        self.model, self.views, self.options, self.optim_wrapper = model, views, options, optim_wrapper
        self.facts = content_facts(model, views, options, optim_wrapper)
        text = json.dumps(self.facts, sort_keys=True)
        self.folder = Path(options.folder) / hashlib.sha256(text.encode()).hexdigest()[:16]

    def create(self) -> None:
        """Make an empty store where there is none; tell its size first."""
        if FeatureFile.is_there(self.folder):
            return
        plan, fields = self._plan()
        self._check_room(fields)
        FeatureFile.create(self.folder, len(self.views), fields, dict(self.facts, plan=plan.state()))

    def fill(self, workers: int) -> None:
        """Compute this process's share of the rows that are not there yet."""
        file = FeatureFile(self.folder)
        pending = torch.nonzero(file.marks == PENDING).flatten().tolist()
        if not pending:
            return
        plan = MapPlan(**file.facts['plan'])
        # By number, not by place among the pending: others may have begun to write.
        rows = [row for row in pending if row % get_world_size() == get_rank()]
        if len(pending) < file.rows:
            _say(f'Feature store: going on, {file.rows - len(pending)} of {file.rows} views are there.')
        collate = partial(views_collate, image_size=plan.image_size)
        loader = DataLoader(_Rows(self.views, rows), self.options.batch_size, num_workers=workers, collate_fn=collate)
        progress, writing = _Progress(len(rows)), deque()
        with ThreadPoolExecutor(1) as writer:  # the disk works while the backbone computes
            for good, unusable, maps in loader:
                if good:
                    writing.append(writer.submit(file.write, good, self._maps(plan, maps)))
                file.mark(unusable, UNUSABLE)
                _wait(writing, _AHEAD)
                progress.add(len(good) + len(unusable))
            _wait(writing, 0)
        progress.finish()

    def complete(self) -> bool:
        """Whether every row is there."""
        return FeatureFile.is_there(self.folder) and not (FeatureFile(self.folder).marks == PENDING).any()

    def finished(self) -> FeatureFile:
        """The complete store."""
        if not self.complete():
            raise RuntimeError(
                f'train_cfg.feature_store.folder={self.options.folder} is not the same folder for all processes: give '
                'one that they share'
            )
        _say(f'Feature store: reading {len(self.views):,} views from {self.folder}.')
        return FeatureFile(self.folder)

    def _features(self, maps: Mapping[str, Tensor]):
        preprocessor: EpisodeDataPreProcessor = self.model.data_preprocessor
        images = preprocessor.normalize(preprocessor.cast_data(maps['image']))
        labels = preprocessor.cast_data(maps['labels'])
        with self.optim_wrapper.optim_context(self.model):
            return self.model.view_features(images, labels)

    def _maps(self, plan: MapPlan, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return plan.maps(self._features(maps)) | self._labels(maps)

    def _labels(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in maps.items() if name != 'image'}

    def _plan(self) -> tuple[MapPlan, dict[str, Field]]:
        """Learnt from the first view that can be read."""
        for row in range(len(self.views)):
            good, _, maps = views_collate([(row, self.views[row])])
            if good:
                break
        else:
            raise StopError('train_cfg.feature_store: no image of the training list can be read')
        features = self._features(maps)
        plan = MapPlan.of(features, maps['image'].shape[-2:])
        found, labels = plan.maps(features), self._labels(maps)
        kept = {name: self.options.dtype for name, tensor in found.items() if tensor.is_floating_point()}
        wide = len(self.views.episodes.dataset.base_class_ids) > 254
        kept |= {name: 'int32' if wide and name == 'base_labels' else 'uint8' for name in labels}
        return plan, lay_out(found | labels, kept)

    def _check_room(self, fields: Mapping[str, Field]) -> None:
        views, size = self.views, len(self.views) * row_bytes(fields)
        free = shutil.disk_usage(self.folder).free
        what = (
            f'{len(views):,} views of {views.images:,} images ({views.views} for each class that an image is drawn '
            f'for), {row_bytes(fields) / 1e6:.2f} MB each in {self.options.dtype}: {size / 1e9:.1f} GB'
        )
        if size + _SPARE > free:
            raise StopError(
                f'the feature store needs more room than there is: {what}, but {self.options.folder} has '
                f'{free / 1e9:.1f} GB free. Choose another train_cfg.feature_store.folder, fewer views, or remove '
                f'stores of other trainings there'
            )
        others = [p for p in self.folder.parent.iterdir() if p != self.folder and FeatureFile.is_there(p)]
        more = f' {len(others)} other store(s) lie there; remove those that are not needed any more.' if others else ''
        _say(f'Feature store: {what} in {self.folder} ({free / 1e9:.1f} GB free).{more}')


class _Rows(Dataset):
    """Some of the views, each with its row."""

    def __init__(self, views: FixedViews, rows: Sequence[int]) -> None:
        self.views, self.rows = views, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int):
        return self.rows[i], self.views[self.rows[i]]


class _Progress:
    """Says now and then how far the main process is, and how long it will take."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self.begun = self.told = time.monotonic()

    def add(self, number: int) -> None:
        self.done += number
        now = time.monotonic()
        if now - self.told >= _TELL_EVERY:
            self.told = now
            left = (now - self.begun) / self.done * (self.total - self.done)
            share = 100 * self.done / self.total
            _say(f'Feature store: {self.done} of {self.total} views ({share:.0f} %), about {_clock(left)} left.')

    def finish(self) -> None:
        _say(f'Feature store: {self.done} views computed in {_clock(time.monotonic() - self.begun)}.')


def content_facts(
    model: FewShotSegmentor, views: FixedViews, options: StoreOptions, optim_wrapper: OptimWrapper
) -> dict:
    """Everything that the content of a store follows from, as plain values; its key is their hash."""
    device = next(model.parameters()).device
    preprocessor = model.data_preprocessor
    with optim_wrapper.optim_context(model):
        autocast = torch.is_autocast_enabled(device.type) and str(torch.get_autocast_dtype(device.type))
    return dict(
        format=FORMAT,
        weights=_weights_digest([model.backbone, *([model.neck] if model.with_neck else [])]),
        precision=[autocast, getattr(model.backbone, 'compute_dtype', None), fast_bfloat16(device), options.dtype],
        normalisation=[preprocessor.mean.tolist(), preprocessor.std.tolist(), preprocessor.bgr_to_rgb],
        stages=[list(model.query_stages()), list(model.support_stages())],
        blocks=model.decode_head.uses_blocks,
        **views.facts(),
    )


def _weights_digest(modules: Sequence[torch.nn.Module]) -> str:
    digest = hashlib.sha256()
    for module in modules:
        digest.update(repr(module).encode())  # strides and dilations are no weights
        add_weights(digest, module)
    return digest.hexdigest()[:32]


def _wait(writing: deque[Future], most: int) -> None:
    """Until so many batches are waiting; a full disk is reported here."""
    while len(writing) > most:
        writing.popleft().result()


def _clock(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))


def _say(message: str) -> None:
    if is_main_process():
        print_log(message, 'current', logging.INFO)
