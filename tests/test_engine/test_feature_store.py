# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Training on a feature store: the same losses as on the same views, made once, resumed, refused where it cannot be."""

import errno
import os
import socket
import threading
from collections import namedtuple

import numpy as np
import pytest
import torch
import toys
from filelock import FileLock
from helpers import IMAGE, LABELS, PACK, jpeg, pascal
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope

from mmfss.datasets import EpisodicDataset, FixedViews, StoredEpisodes
from mmfss.datasets.fixed_views import random_state
from mmfss.engine import feature_store
from mmfss.engine.feature_store_options import StoreOptions, check_feature_store, check_model, store_options
from mmfss.engine.launch import build_runner, init_launcher
from mmfss.structures.feature_file import DONE, UNUSABLE
from mmfss.utils.plain_errors import StopError
from mmfss.utils.weights import bare_model

NORMALIZATION = dict(mean=[120.0] * 3, std=[60.0] * 3, bgr_to_rgb=True)
MODEL = dict(
    type='BaseLearnerEnsemble',
    data_preprocessor=dict(type='EpisodeDataPreProcessor', **NORMALIZATION),
    backbone=toys.RESNET,
    base_head=dict(toys.BASE_HEAD, num_classes=16),
)
BAM = dict(MODEL, decode_head=dict(type='BAMHead', channels=16, dilations=(1, 2, 3)))
MSANET = dict(MODEL, decode_head=toys.MSANET)
PFENET = {k: v for k, v in MODEL.items() if k != 'base_head'} | dict(
    type='FewShotSegmentor', decode_head=dict(type='PFENetHead', channels=16, bins=(1.0, 0.5))
)
AUGMENTED = [dict(type='RandomScale', ratio_range=(0.9, 1.2)), dict(type='ForegroundCrop', crop_size=41), PACK]
PIPELINES = dict(
    query_pipeline=[IMAGE, dict(LABELS, with_base=True), *AUGMENTED], support_pipeline=[IMAGE, LABELS, *AUGMENTED]
)
VIEWS = 18  # two of each pair of an image and a class in it, see `few`
OWN = dict(PIPELINES, support_pipeline=[IMAGE, LABELS, dict(type='mmseg.RandomFlip', prob=0.5), *AUGMENTED])


@pytest.fixture
def few(tmp_path, voc):
    """A list of eight training images of two classes, of which one image holds both."""
    names = [name for name in jpeg(voc, 'x').parent.glob('train_0[67]_*.jpg')]
    (tmp_path / 'list.txt').write_text('\n'.join(sorted(path.stem for path in names)) + '\n')
    return dict(pascal(voc, 'train', fold=0), ann_file=str(tmp_path / 'list.txt'))


def build(config):
    with DefaultScope.overwrite_default_scope('mmfss'):  # mmengine builds the preprocessor
        return toys.build(config)


def wrapper(model):
    return OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))


def open_store(folder, data, model, pipelines=PIPELINES, shots=1, **options):
    views = FixedViews(EpisodicDataset(data, shots=shots, **pipelines), options.pop('views', 2), options.pop('seed', 0))
    options = StoreOptions(folder=str(folder), **{'batch_size': 32, **options})
    return views, feature_store.open_store(model, views, options, wrapper(model))


def as_images(views, items):
    """The batch that an EpisodicDataset would have given for the views of stored items."""
    of = views.episodes
    made = []
    for item in items:
        packed = []
        for place, (row, meta) in enumerate(zip(item['rows'], item['samples'], strict=True)):
            query, position, class_id = views.pairs[row // views.views]
            assert query or not views.shared
            pipeline = of.query_pipeline if place == 0 else of.support_pipeline
            described = of.describe_query(position, class_id)
            described.update({k: meta[k] for k in ('run', 'episode', 'support_names') if k in meta})
            with random_state(views.seed, described['name'], row % views.views):
                packed.append(pipeline(described))
        inputs, samples = ([p[key] for p in packed] for key in ('inputs', 'data_samples'))
        made.append(
            dict(
                inputs=dict(query=inputs[0], support=inputs[1:]),
                data_samples=dict(query=samples[0], support=samples[1:]),
            )
        )
    return pseudo_collate(made)


@pytest.mark.parametrize('pipelines', [PIPELINES, OWN], ids=['shared', 'own'])
@pytest.mark.parametrize(('config', 'shots'), [(MSANET, 1), (BAM, 2), (PFENET, 1)], ids=['msanet', 'bam', 'pfenet'])
def test_losses_and_gradients_are_those_on_the_same_views(tmp_path, few, config, shots, pipelines):
    model = build(config).train()
    for dtype, tolerance in (('float32', 1e-5), ('bfloat16', 3e-2)):
        views, file = open_store(tmp_path, few, model, pipelines, shots, dtype=dtype)
        stored = StoredEpisodes(views, file, model.query_stages(), model.support_stages())
        items = [stored[i] for i in range(3)]
        losses = []
        for batch in (stored.collate(items), as_images(views, items)):
            torch.manual_seed(0)  # dropout
            data = model.data_preprocessor(batch, training=True)
            loss = model(**data, mode='loss')
            model.zero_grad()
            model.parse_losses(loss)[0].backward()
            gradient = torch.cat([p.grad.flatten() for p in model.decode_head.parameters() if p.grad is not None])
            losses.append((loss, gradient))
        (kept, own), (expected, theirs) = losses
        assert kept.keys() == expected.keys()
        for name, value in expected.items():
            assert kept[name].item() == pytest.approx(value.item(), rel=tolerance), (dtype, name)
        assert (own - theirs).norm() <= 10 * tolerance * theirs.norm()


def test_without_augmentation_a_store_is_the_images_themselves(tmp_path, few):
    """HSNet augments nothing: one view, and the loss of an episode from the store is that of its images."""
    head = dict(type='HSNetHead', strides=dict(layer4=(1, 1, 1), layer3=(1, 1, 1), layer2=(1, 1, 1)))
    model = build(dict(PFENET, decode_head=head)).train()
    steps = [IMAGE, LABELS, dict(type='SquashResize', size=41, antialias=True), PACK]
    plain = dict(query_pipeline=steps, support_pipeline=steps)
    views, file = open_store(tmp_path, few, model, plain, views=1, dtype='float32')
    stored = StoredEpisodes(views, file, model.query_stages(), model.support_stages())
    images = EpisodicDataset(few, **plain)
    for index in range(4):
        losses = []
        for data, collate in ((stored, stored.collate), (images, pseudo_collate)):
            np.random.seed(index)
            batch = model.data_preprocessor(collate([data[index]]), training=True)
            losses.append(model(**batch, mode='loss')['loss_final'])
        assert torch.allclose(*losses, atol=1e-5)


def test_made_once_and_resumed(tmp_path, few, monkeypatch, logged):
    model, seen = build(BAM), []
    get = FixedViews.__getitem__
    monkeypatch.setattr(FixedViews, '__getitem__', lambda self, row: seen.append(row) or get(self, row))
    write, calls = feature_store.FeatureFile.write, []

    def interrupted(self, rows, maps):
        calls.append(rows)
        if len(calls) > 2:
            raise KeyboardInterrupt
        write(self, rows, maps)

    with monkeypatch.context() as patch:
        patch.setattr(feature_store.FeatureFile, 'write', interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_store(tmp_path, few, model, batch_size=4)
    assert not model.training
    seen.clear()
    views, file = open_store(tmp_path, few, model, batch_size=4)
    kept = [row for rows in calls[:2] for row in rows]
    assert sorted(seen) == sorted(set(range(len(views))) - set(kept)) and (file.marks == DONE).all()
    seen.clear()
    again = open_store(tmp_path, few, model, batch_size=4)[1]
    assert seen == [] and again.folder == file.folder
    text = '\n'.join(logged)
    assert f'{len(kept)} of {len(views)} views are there' in text
    assert f'{VIEWS} views of 8 images' in text and ' MB each in bfloat16: ' in text and ' GB free' in text
    assert 'views computed in 0:00:0' in text


def test_whatever_changes_features_makes_a_new_store(tmp_path, few):
    model = build(BAM)
    folders = [open_store(tmp_path, few, model, **o)[1].folder for o in ({}, dict(views=1), dict(dtype='float16'))]
    folders.append(open_store(tmp_path, few, model, seed=5)[1].folder)
    folders.append(open_store(tmp_path, few, build(MSANET))[1].folder)  # other stages
    head = next(model.decode_head.parameters())
    head.data += 1  # no matter
    assert open_store(tmp_path, few, model)[1].folder == folders[0]
    next(model.backbone.parameters()).data += 1e-3
    folders.append(open_store(tmp_path, few, model)[1].folder)
    assert len(set(folders)) == len(folders)


def test_a_changed_image_makes_a_new_store(tmp_path, own_voc):
    data, model = dict(pascal(own_voc, 'train'), indices=6), build(BAM)
    before = open_store(tmp_path, data, model, views=1)[1].folder
    os.utime(jpeg(own_voc, 'train_06_0'), (1, 1))
    assert open_store(tmp_path, data, model, views=1)[1].folder != before


def test_the_room_is_looked_at_before(tmp_path, few, monkeypatch):
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr(feature_store.shutil, 'disk_usage', lambda path: usage(2**30, 2**30 - 10**7, 10**7))
    with pytest.raises(StopError, match=r'needs more room than there is: 18 views .* has 0\.0 GB free.*fewer views'):
        open_store(tmp_path, few, build(BAM))


def test_a_disk_that_fills_up_costs_no_row_that_is_there(tmp_path, few, monkeypatch):
    model, write, calls = build(BAM), os.pwrite, []

    def full(file, content, offset):
        calls.append(offset)
        if len(calls) > 20:
            raise OSError(errno.ENOSPC, 'No space left on device')
        return write(file, content, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, 'pwrite', full)
        with pytest.raises(OSError, match='start again: what is stored already is kept'):
            open_store(tmp_path, few, model, batch_size=4)
    assert (open_store(tmp_path, few, model)[1].marks == DONE).all()


def test_two_processes_make_one_store_together(tmp_path, few, monkeypatch):
    model = build(BAM)
    alone = open_store(tmp_path / 'alone', few, model, dtype='float32')[1]
    views = FixedViews(EpisodicDataset(few, **PIPELINES), 2)
    options = StoreOptions(folder=str(tmp_path / 'together'), dtype='float32', batch_size=32)
    monkeypatch.setattr(feature_store, 'get_world_size', lambda: 2)
    builder = feature_store._Builder(model.train(), views, options, wrapper(model))
    builder.folder.mkdir(parents=True)
    with torch.no_grad():
        builder.create()
        for rank, done in ((1, VIEWS // 2), (0, VIEWS)):
            with monkeypatch.context() as patch:
                patch.setattr(feature_store, 'get_rank', lambda rank=rank: rank)
                builder.fill(0)
            if rank == 1:
                assert (feature_store.FeatureFile(builder.folder).marks == DONE).sum() == done
                with pytest.raises(RuntimeError, match='is not the same folder for all processes'):
                    builder.finished()
    together = builder.finished()
    names = list(alone.fields)
    for row in range(VIEWS):
        mine, theirs = alone.read([row], names), together.read([row], names)
        assert all(torch.allclose(mine[name].float(), theirs[name].float(), atol=1e-5) for name in names)


def test_another_training_waits_for_the_one_that_makes_it(tmp_path, few, monkeypatch, logged):
    model = build(BAM)
    folder = open_store(tmp_path, few, model)[1].folder
    (folder / 'lock').chmod(0o444)  # not needed any more
    assert open_store(tmp_path, few, model)[1].folder == folder
    (folder / 'lock').chmod(0o644)
    monkeypatch.setattr(feature_store, '_TELL_AFTER', 0.01)
    first, second = FileLock(str(folder / 'lock')), threading.Event()
    first.acquire()

    def wait():
        with feature_store._locked(folder):
            second.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not second.wait(0.3)
    first.release()
    assert second.wait(10)
    thread.join()
    assert any('another training makes it' in message for message in logged)


def test_a_corrupt_image_is_left_out(tmp_path, own_voc):
    data = dict(pascal(own_voc, 'train'), indices=12)
    episodes = EpisodicDataset(data, **PIPELINES)
    content = jpeg(own_voc, 'train_06_1').read_bytes()
    jpeg(own_voc, 'train_06_1').write_bytes(content[: len(content) // 2])
    views, model = FixedViews(episodes, 1), build(BAM)
    with pytest.warns(RuntimeWarning, match=r'train_06_1.*left out of the feature store'):
        file = feature_store.open_store(
            model, views, StoreOptions(str(tmp_path), views=1, batch_size=32), wrapper(model)
        )
    assert (file.marks == UNUSABLE).sum() == 1
    stored = StoredEpisodes(views, file, model.query_stages(), model.support_stages())
    bad = int((file.marks == UNUSABLE).nonzero())
    with pytest.warns(RuntimeWarning, match='Another episode is drawn'):
        assert all(bad not in stored[i % len(stored)]['rows'] for i in range(60))


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (dict(views=2), 'it takes folder, views, dtype, seed, batch_size, of which folder is needed'),
        (dict(folder='x', view=2), 'it takes folder, views'),
        (dict(folder='x', views=0), r'feature_store\.views is 0'),
        (dict(folder='x', views=1.5), r'feature_store\.views is 1\.5'),
        (dict(folder='x', dtype='int8'), r"feature_store\.dtype is 'int8'; choose from bfloat16"),
    ],
)
def test_wrong_options_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        store_options(given)


@pytest.mark.parametrize('key', ['freeze_backbone', 'norm_eval'])
def test_a_backbone_that_changes_is_refused_before_any_work(key):
    config = Config(dict(model=dict(BAM, **{key: False}), train_cfg=dict(feature_store=dict(folder='x'))))
    with pytest.raises(ValueError, match=f'model.{key} is False: they change'):
        check_feature_store(config)
    with pytest.raises(ValueError, match=f'model.{key} is False: they change'):
        check_model(build(config.model))
    check_feature_store(Config(dict(model=dict(BAM, **{key: False}), train_cfg=dict(max_epochs=1))))


def training(data, folder, by_epoch=True):
    """A config of six steps of four episodes on a store."""
    loop = dict(type='EpochBasedTrainLoop', max_epochs=3) if by_epoch else dict(type='IterBasedTrainLoop', max_iters=6)
    return Config(
        dict(
            model=BAM,
            work_dir=str(folder / 'work'),
            train_dataloader=dict(
                batch_size=4,
                num_workers=0,
                sampler=dict(type='DefaultSampler' if by_epoch else 'InfiniteSampler', shuffle=True),
                dataset=dict(type='EpisodicDataset', dataset=data, **PIPELINES),
            ),
            train_cfg=dict(loop, feature_store=dict(folder=str(folder / 'store'), views=2, batch_size=32)),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
            default_scope='mmfss',
            randomness=dict(seed=0),
            default_hooks=dict(checkpoint=None, finite=dict(type='FiniteTrainingHook')),
            experiment_name=f'store_{by_epoch}',
            log_level='WARNING',
        )
    )


@pytest.mark.parametrize('by_epoch', [True, False])
def test_a_training_opens_no_image_once_the_store_is_there(tmp_path, few, monkeypatch, by_epoch):
    from mmfss.datasets.transforms import LoadFewShotImage

    opened = []
    load = LoadFewShotImage.transform
    monkeypatch.setattr(LoadFewShotImage, 'transform', lambda self, r: opened.append(r['img_path']) or load(self, r))
    config = training(few, tmp_path, by_epoch)
    runner = build_runner(config)
    before = {k: v.clone() for k, v in runner.model.decode_head.state_dict().items()}
    runner.train()
    assert runner.iter == 6 and len(opened) == 1 + VIEWS  # the first once more, to learn the layout
    assert isinstance(runner.train_loop.dataloader.dataset.wrapped, StoredEpisodes)
    assert any(not torch.equal(v, before[k]) for k, v in runner.model.decode_head.state_dict().items())


def test_draws_from_a_store_follow_from_the_seed(tmp_path, few):
    states = []
    for folder, noise in (('a', 0), ('b', 5)):
        (tmp_path / folder).mkdir()
        runner = build_runner(training(few, tmp_path / folder))
        np.random.rand(noise)  # whatever the process drew before
        runner.train()
        states.append(bare_model(runner.model).state_dict())
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())


def run_rank(rank, data, folder, port):
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port)
    )
    config = training(data, folder)
    config.total_batch_size = 4
    init_launcher(config, 'pytorch')
    runner = build_runner(config)
    runner.train()
    state = bare_model(runner.model).state_dict()
    torch.save(dict(iterations=runner.iter, state=state), folder / f'rank{rank}.pth')


@pytest.mark.slow
def test_two_real_processes_make_and_read_one_store(tmp_path, few):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(run_rank, (few, tmp_path, port), nprocs=2)
    first, second = (torch.load(tmp_path / f'rank{rank}.pth') for rank in (0, 1))
    assert first['iterations'] == second['iterations'] == 6
    assert all(torch.equal(first['state'][name], second['state'][name]) for name in first['state'])
    (folder,) = (tmp_path / 'store').iterdir()
    assert (feature_store.FeatureFile(folder).marks == DONE).all()
