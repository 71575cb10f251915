# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The shipped dataset configs read, build and deliver items."""

from pathlib import Path

import pytest
from helpers import HEIGHT, WIDTH, draw_mask, scenes, write_voc
from mmengine.config import Config
from PIL import Image

from mmfss.registry import DATASETS, METRICS

CONFIGS = Path(__file__).parents[2] / 'configs/_base_/datasets'


@pytest.fixture(scope='module')
def big_voc(tmp_path_factory):
    """Fifteen candidates of two novel classes of fold 1, so that the lite preset finds some."""
    val = {f'v{c}_{k:02d}': [(c, 300)] for c in (6, 7) for k in range(15)}
    return write_voc(tmp_path_factory.mktemp('big'), train=scenes('train'), train_5953=scenes('train'), val=val)


@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    root = tmp_path_factory.mktemp('coco')
    for split in ('train2014', 'val2014'):
        for c in (1, 2, 3, 6):
            for k in range(2):
                for folder in (split, f'annotations/{split}'):
                    (root / folder).mkdir(parents=True, exist_ok=True)
                Image.new('RGB', (WIDTH, HEIGHT), (c, c, c)).save(root / split / f'{c}_{k}.jpg')
                Image.fromarray(draw_mask([(c, 300)])).save(root / 'annotations' / split / f'{c}_{k}.png')
    return root


@pytest.fixture
def config(monkeypatch, big_voc, coco, request):
    name = request.param
    monkeypatch.setenv('FOLD', '1')
    monkeypatch.setenv('MMFSS_DATA_ROOT', str(coco if 'coco' in name else big_voc))
    monkeypatch.setenv('MMFSS_CANDIDATE_AREA', '100')
    return Config.fromfile(CONFIGS / f'{name}.py')


@pytest.mark.parametrize(
    'config, size, batch',
    [('pascal5i_episodes', 473, 8), ('coco20i_episodes', 641, 8), ('pascal5i_lite_episodes', 257, 4)],
    indirect=['config'],
)
def test_episodes(config, size, batch):
    assert config.fold == 1 and config.shots == 1 and config.candidate_area == 100
    assert config.train_dataloader.batch_size == batch
    assert config.train_dataloader.persistent_workers
    for phase in ('train', 'val', 'test'):
        dataset = DATASETS.build(config[f'{phase}_dataloader']['dataset'])
        item = dataset[0]
        assert item['inputs']['query'].shape == item['inputs']['support'][0].shape
        assert item['inputs']['query'].shape == (3, size, size)
        label = item['data_samples']['query'].gt_sem_seg.data
        assert label.shape[1:] == ((size, size) if phase == 'train' else (HEIGHT, WIDTH))
        assert ('gt_base_seg' in item['data_samples']['query']) == (phase == 'train')
        METRICS.build(config[f'{"test" if phase == "train" else phase}_evaluator'])


@pytest.mark.parametrize(
    'config, size, classes',
    [('pascal5i_base', 417, 16), ('coco20i_base', 417, 61), ('pascal5i_lite_base', 257, 16)],
    indirect=['config'],
)
def test_base(config, size, classes):
    for phase in ('train', 'val'):
        dataset = DATASETS.build(config[f'{phase}_dataloader']['dataset'])
        assert len(dataset.metainfo['classes']) == classes
        item = dataset[0]
        if phase == 'train':
            assert item['inputs'].shape == (3, size, size)
        else:  # scored at original size
            assert max(item['inputs'].shape) == config.test_pipeline[1].scale[0]
        label = item['data_samples'].gt_sem_seg.data
        assert label.shape[1:] == ((size, size) if phase == 'train' else (HEIGHT, WIDTH))
        assert set(label.unique().tolist()) <= {*range(classes), 255}


@pytest.mark.parametrize('name', ['pascal5i_episodes', 'pascal5i_base'])
def test_the_published_training_list_is_the_default(name, monkeypatch, own_voc):
    monkeypatch.setenv('FOLD', '1')
    monkeypatch.setenv('MMFSS_DATA_ROOT', str(own_voc))  # without that list
    monkeypatch.setenv('MMFSS_CANDIDATE_AREA', '100')
    with pytest.raises(FileNotFoundError, match='train_5953.txt.*does not exist.*dataset_converters/pascal5i.py'):
        len(DATASETS.build(Config.fromfile(CONFIGS / f'{name}.py').train_dataloader.dataset))
    monkeypatch.setenv('MMFSS_TRAIN_LIST', 'ImageSets/Segmentation/train.txt')
    config = Config.fromfile(CONFIGS / f'{name}.py')
    assert len(DATASETS.build(config.train_dataloader.dataset)) > 0
    assert len(DATASETS.build(config.test_dataloader.dataset)) > 0


def test_five_shots_by_the_recipe(tmp_path, monkeypatch):
    lines = [f'_base_ = {str(CONFIGS / "pascal5i_episodes.py")!r}', 'shots = 5']
    lines += ['train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(shots=shots))']
    (tmp_path / 'five.py').write_text('\n'.join(lines))
    config = Config.fromfile(tmp_path / 'five.py')
    assert {config[f'{p}_dataloader'].dataset.shots for p in ('train', 'val', 'test')} == {5}
    assert config.test_dataloader.dataset.protocol.type == 'BamProtocol'
