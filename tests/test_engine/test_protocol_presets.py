# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Presets of configs/_base_/protocols on the test data of configs."""

import os
from pathlib import Path

import pytest
from helpers import HEIGHT, WIDTH, draw_mask
from mmengine.config import Config
from PIL import Image

from mmfss.datasets import COCO20iDataset
from mmfss.engine.protocol_presets import apply_protocol, arrange, presets, protocol_name, read_preset
from mmfss.registry import DATASETS

REPO = Path(__file__).resolve().parents[2]
DATA = REPO / 'configs/_base_/datasets'
# (runs, episodes, seed, side) on PASCAL and on COCO: the table of docs/protocols.md
PUBLISHED = dict(
    bam=((5, 1000, 123, 473), (5, 1000, 123, 641)),
    pfenet=((1, 5000, 321, 473), (1, 20000, 321, 641)),
    asgnet=((1, 1000, 321, 473), (1, 20000, 321, 641)),
    cyctr=((1, 1000, 123, 473), (1, 5000, 321, 473)),
    hdmnet=((10, 1000, 123, 473), (10, 10000, 123, 633)),
    hsnet=((1, 1000, 0, 400), (1, 1000, 0, 400)),
    vat=((1, 1000, 0, 473), (1, 1000, 0, 417)),
    panet=((5, 1000, 1234, 417), (5, 1000, 1234, 417)),
    repri=((5, 1000, 123, 417), (5, 1000, 123, 417)),
    balanced=((5, 1000, 0, 473), (5, 1000, 0, 641)),
)


@pytest.fixture(autouse=True)
def fold(monkeypatch, voc):
    for name, value in (('FOLD', '1'), ('MMFSS_DATA_ROOT', str(voc)), ('MMFSS_CANDIDATE_AREA', '100')):
        monkeypatch.setenv(name, value)


@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    root = tmp_path_factory.mktemp('coco')
    images, masks = root / 'val2014', root / 'annotations/val2014'
    images.mkdir(), masks.mkdir(parents=True)
    for c in (2, 6, 22):
        for k in range(3):
            Image.new('RGB', (WIDTH, HEIGHT), (c, c, c)).save(images / f'{c}_{k}.jpg')
            Image.fromarray(draw_mask([(c, 300)])).save(masks / f'{c}_{k}.png')
    return root


def preset_config(name: str, data: str = 'pascal5i_episodes') -> Config:
    cfg = Config.fromfile(DATA / f'{data}.py')
    if name == 'panet' and data.startswith('coco'):
        with pytest.raises(ValueError, match="scheme='fwb'"):
            apply_protocol(cfg, name)
        cfg.test_dataloader.dataset.dataset.scheme = 'panet'  # its own folds
    apply_protocol(cfg, name)
    return cfg


def build(cfg: Config, **sampling):
    """The test data, with few episodes."""
    cfg.test_dataloader.dataset.protocol.update(dict(runs=1, episodes=4, **sampling))
    return DATASETS.build(cfg.test_dataloader.dataset)


@pytest.mark.parametrize('name', presets())
@pytest.mark.parametrize('data', ['pascal5i_episodes', 'coco20i_episodes'])
def test_published_numbers(name, data):
    cfg = preset_config(name, data)
    protocol, steps = cfg.test_dataloader.dataset.protocol, cfg.test_dataloader.dataset.support_pipeline
    side = next(step.size for step in steps if 'size' in step)
    assert (protocol.runs, protocol.episodes, protocol.seed, side) == PUBLISHED[name]['coco' in data]
    expected = 'hsnet' if name == 'vat' else name  # the same draws
    assert DATASETS.build({**cfg.test_dataloader.dataset, 'lazy_init': True}).protocol.name == expected
    if expected == 'hsnet':
        assert protocol.order == ('class' if 'coco' in data else 'list')


def test_the_shipped_configs_are_bam():
    """The default of the paper configs and the preset say the same."""
    for data in ('pascal5i_episodes', 'coco20i_episodes'):
        cfg, plain = preset_config('bam', data), Config.fromfile(DATA / f'{data}.py')
        assert cfg.test_dataloader.dataset.protocol == plain.test_dataloader.dataset.protocol
        assert cfg.test_dataloader.dataset.query_pipeline == plain.test_dataloader.dataset.query_pipeline
        assert cfg.test_dataloader.dataset.support_pipeline[2] == plain.test_dataloader.dataset.support_pipeline[2]


@pytest.mark.parametrize('name', presets())
@pytest.mark.parametrize('on_coco', [False, True])
def test_items(name, on_coco, coco, monkeypatch):
    if on_coco:
        monkeypatch.setenv('MMFSS_DATA_ROOT', str(coco))
    side = PUBLISHED[name][on_coco][-1]
    item = build(preset_config(name, 'coco20i_episodes' if on_coco else 'pascal5i_episodes'))[0]
    query, support = item['data_samples']['query'], item['data_samples']['support'][0]
    assert item['inputs']['query'].shape == item['inputs']['support'][0].shape == (3, side, side)
    assert support.gt_sem_seg.data.shape == (1, side, side)
    assert query.gt_sem_seg.data.unique().tolist() == [0, 1, 255]
    if name in ('hsnet', 'vat', 'panet'):  # squashed, judged at network size, 255 of the support is background
        assert query.gt_sem_seg.data.shape[1:] == query.ori_shape == query.restore_shape == (side, side)
        assert support.gt_sem_seg.data.unique().tolist() == [0, 1]
    elif name == 'repri':  # aspect kept, judged at network size, filled margins left out
        assert query.gt_sem_seg.data.shape[1:] == query.ori_shape == query.restore_shape == (side, side)
        assert 255 in support.gt_sem_seg.data.unique() and (query.gt_sem_seg.data[0, -1] == 255).all()
    else:  # a square of the longer side, judged at original size, 255 kept apart
        assert query.gt_sem_seg.data.shape[1:] == query.ori_shape == (HEIGHT, WIDTH)
        assert query.restore_shape == (WIDTH, WIDTH) and 255 in support.gt_sem_seg.data.unique()


def test_two_classes_a_query(monkeypatch):
    monkeypatch.setenv('MMFSS_TRAIN_LIST', 'ImageSets/Segmentation/val.txt')
    cfg = Config.fromfile(REPO / 'configs/panet/vgg16_pascal_2way_1shot.py')
    apply_protocol(cfg)
    assert cfg.test_dataloader.dataset.support_pipeline[1] == dict(type='LoadNWayAnnotations', keep_ignore=False)
    item = build(cfg)[0]
    query, supports = item['data_samples']['query'], item['data_samples']['support']
    assert len(supports) == len(query.way_class_ids) == 2 and query.gt_sem_seg.data.shape == (1, 417, 417)
    for way, support in enumerate(supports):
        assert {0, 1 + way} <= set(support.gt_sem_seg.data.unique().tolist()) <= {0, 1, 2}


def test_one_config_line(tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text(f"_base_ = ['{DATA}/pascal5i_episodes.py', '{REPO}/configs/_base_/protocols/hsnet.py']\n")
    cfg = Config.fromfile(file)
    train, val = cfg.train_dataloader.to_dict(), cfg.val_dataloader.to_dict()
    apply_protocol(cfg)
    assert cfg.test_dataloader.dataset.protocol.type == 'HsnetProtocol'
    assert cfg.train_dataloader.to_dict() == train and cfg.val_dataloader.to_dict() == val
    apply_protocol(cfg)  # a config that was dumped after a test says the same
    assert [s.type for s in cfg.test_dataloader.dataset.query_pipeline] == [
        'LoadFewShotImage',
        'LoadFewShotAnnotations',
        'SquashResize',
        'ScoreAtNetworkSize',
        'PackEpisodeInputs',
    ]
    # and without a preset nothing changes
    plain = Config.fromfile(DATA / 'pascal5i_episodes.py')
    before = plain.to_dict()
    apply_protocol(plain)
    assert plain.to_dict() == before


def test_what_belongs_to_the_data_and_the_question_stays():
    cfg = Config.fromfile(DATA / 'pascal5i_lite_episodes.py')
    cfg.test_dataloader.dataset.update(shots=5, support_annotation='box')
    apply_protocol(cfg, 'hsnet')
    dataset = cfg.test_dataloader.dataset
    assert (dataset.shots, dataset.support_annotation, dataset.protocol.min_images) == (5, 'box', 14)
    assert dataset.support_pipeline[2] == dict(type='SquashResize', size=257, antialias=True)
    cfg = Config.fromfile(DATA / 'pascal5i_lite_episodes.py')
    cfg.test_dataloader.dataset.support_pipeline.insert(2, dict(type='WeakAnnotation', kind='point'))
    cfg.test_dataloader.dataset.query_pipeline[0].backend_args = dict(backend='local')
    apply_protocol(cfg, 'bam')
    assert cfg.test_dataloader.dataset.support_pipeline[2].kind == 'point'
    assert cfg.test_dataloader.dataset.query_pipeline[0].backend_args == dict(backend='local')


def kinds(pipeline) -> list[str]:
    return [step.type.split('.')[-1] for step in pipeline]


def test_other_steps_of_the_pipelines_stay_in_their_place():
    cfg = Config.fromfile(DATA / 'pascal5i_episodes.py')
    dataset = cfg.test_dataloader.dataset
    for pipeline in (dataset.query_pipeline, dataset.support_pipeline):
        place = kinds(pipeline).index('ResizeLongSide')
        pipeline.insert(place + 1, dict(type='mmseg.Pad', size_divisor=14))  # as a ViT needs it
        pipeline.insert(1, dict(type='CLAHE'))
    image, pack, plain = 'LoadFewShotImage', 'PackEpisodeInputs', 'LoadFewShotAnnotations'
    for _ in range(2):  # what a preset left is arranged anew by the next one
        apply_protocol(cfg, 'hsnet')
        dataset = cfg.test_dataloader.dataset
        moved = ['CLAHE', plain, 'SquashResize', 'Pad']
        assert kinds(dataset.query_pipeline) == [image, *moved, 'ScoreAtNetworkSize', pack]
        assert kinds(dataset.support_pipeline) == [image, *moved, pack]
        assert dataset.query_pipeline[4].size_divisor == 14
        apply_protocol(cfg, 'bam')
        dataset = cfg.test_dataloader.dataset
        assert kinds(dataset.query_pipeline) == [image, 'CLAHE', 'ResizeLongSide', 'Pad', plain, pack]
        assert kinds(dataset.support_pipeline) == [image, 'CLAHE', plain, 'ResizeLongSide', 'Pad', pack]
    item = build(cfg)[0]
    assert item['inputs']['query'].shape == item['inputs']['support'][0].shape == (3, 476, 476)
    assert item['data_samples']['query'].gt_sem_seg.data.shape[1:] == (HEIGHT, WIDTH)


def test_a_pipeline_without_geometry_gets_one():
    image, labels, pack = (dict(type=t) for t in ('LoadFewShotImage', 'LoadFewShotAnnotations', 'PackEpisodeInputs'))
    new = dict(type='SquashResize', size=9)
    clahe = dict(type='CLAHE')
    assert arrange([image, clahe, labels, pack], new, labels_first=False) == [image, clahe, new, labels, pack]
    assert arrange([image, clahe, labels, pack], new, labels_first=True) == [image, clahe, labels, new, pack]
    assert arrange([], new, labels_first=True) == [image, labels, new, pack]


class Coco20iOfMine(COCO20iDataset):
    """What a user derives."""


def test_what_differs_on_a_data_set_holds_for_its_subclasses(monkeypatch):
    monkeypatch.setitem(DATASETS.module_dict, 'Coco20iOfMine', Coco20iOfMine)
    cfg = Config.fromfile(DATA / 'coco20i_episodes.py')
    cfg.test_dataloader.dataset.dataset.type = 'mmfss.Coco20iOfMine'
    cfg.test_protocol = read_preset('hdmnet')
    cfg.test_protocol.datasets.Coco20iOfMine = dict(sampling=dict(episodes=7))
    cfg.test_protocol.datasets.Pascal5iDataset = dict(sampling=dict(episodes=8))
    apply_protocol(cfg)
    assert cfg.test_dataloader.dataset.protocol.episodes == 7
    assert cfg.test_dataloader.dataset.support_pipeline[2].size == 633
    cfg.test_protocol.datasets.Nowhere = dict(sampling=dict(episodes=7))
    with pytest.raises(ValueError, match='datasets.Nowhere must be a registered data set'):
        apply_protocol(cfg)


def test_other_folds_than_the_protocols_are_refused():
    cfg = Config.fromfile(DATA / 'coco20i_episodes.py')
    cfg.test_dataloader.dataset.dataset.scheme = 'panet'
    with pytest.raises(
        ValueError, match="bam is defined on COCO20iDataset with scheme='fwb', but .* has scheme='panet'"
    ):
        apply_protocol(cfg, 'bam')
    apply_protocol(cfg, 'balanced')


def test_own_file_and_wrong_ones(tmp_path):
    own = tmp_path / 'quick.py'
    own.write_text(
        "_base_ = ['" + os.fspath(REPO / 'configs/_base_/protocols/bam.py') + "']\n"
        "test_protocol = dict(name='quick', sampling=dict(runs=1, episodes=7))\n"
    )
    cfg = preset_config(str(own))
    assert cfg.test_dataloader.dataset.protocol.episodes == 7 and protocol_name(str(own)) == 'quick'
    with pytest.raises(FileNotFoundError, match='no protocol bamm: choose one of asgnet, balanced, bam'):
        read_preset('bamm')
    own.write_text('x = 1\n')
    with pytest.raises(ValueError, match='sets no `test_protocol`'):
        read_preset(str(own))
    for line, message in (
        ("dict(name='q', sampling=dict(type='BamProtocol'))", 'wrong or missing.*geometry'),
        ("dict(name='q', sampling=dict(type='No'), geometry=dict(type='SquashResize', size=9))", "no sampling 'No'"),
        (
            "dict(name='q', sampling=dict(type='BamProtocol'), ground_truth='big', "
            "geometry=dict(type='SquashResize', size=9))",
            "ground_truth is 'big'",
        ),
    ):
        own.write_text(f'test_protocol = {line}\n')
        with pytest.raises(ValueError, match=message):
            preset_config(str(own))
    with pytest.raises(ValueError, match='no EpisodicDataset'):
        preset_config('bam', 'pascal5i_base')
