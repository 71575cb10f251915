# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What the configs of the paper say: sizes, schedules, batches, places. Builds no large model."""

import pytest
import torch
import yaml
from helpers import load_script
from shipped import (
    ALL,
    ASGNET,
    BAM,
    COCO_TO_PASCAL,
    CONFIGS,
    CYCTR,
    LITE,
    ON_A_BASE_LEARNER,
    PANET,
    PFENET,
    REPO,
    REPRI,
    REPRI_BASE,
    REPRI_LITE,
    REPRI_ORACLE,
    STAGE1,
    STAGE2,
    STORED,
    TABLE3,
    WEIGHTLESS,
    read,
)

from mmfss.datasets import COCO20iDataset, Pascal5iDataset

SIDES = dict(pascal=473, coco=641)


def test_every_config_is_listed_here():
    found = {path.relative_to(CONFIGS).with_suffix('').as_posix() for path in CONFIGS.rglob('*.py')}
    assert {name for name in found if not name.startswith('_base_/')} == set(ALL)


@pytest.mark.parametrize('name', STAGE2)
def test_stage_2(name):
    cfg = read(name)
    dataset, shots = name.split('_')[1], int(name[-5])
    assert cfg.total_batch_size == cfg.train_dataloader.batch_size == 8
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=cfg.total_batch_size)
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=1e-4)
    assert cfg.train_cfg.max_epochs == dict(pascal=200, coco=50)[dataset]
    assert cfg.train_cfg.val_interval == 1
    assert cfg.param_scheduler[0].end == cfg.train_cfg.max_epochs
    assert cfg.param_scheduler[0].power == 0.9 and cfg.param_scheduler[0].convert_to_iter_based
    assert cfg.default_hooks.checkpoint.save_best == 'mIoU'
    data = [cfg[f'{phase}_dataloader'].dataset for phase in ('train', 'val', 'test')]
    assert {d.shots for d in data} == {shots}
    assert [d.protocol.type for d in data[1:]] == ['BamProtocol', 'BamProtocol']
    assert data[2].protocol.runs == 5 and data[2].protocol.episodes == 1000
    crop, resize = data[0].query_pipeline[-2], data[1].query_pipeline[1]
    assert crop.crop_size == resize.size == SIDES[dataset] and crop.keep == 0.85
    scales = dict(pascal=(0.9, 1.1), coco=(0.8, 1.25))[dataset]
    assert data[0].support_pipeline[2].ratio_range == scales
    weighting = cfg.model.decode_head.get('shot_weighting')
    assert weighting == (None if shots == 1 else dict(shots=5))


@pytest.mark.parametrize('name', ASGNET)
def test_asgnet(name):
    """As PFENet, but with other validation and test episodes, and weights trained for each K."""
    cfg = read(name)
    dataset, shots = name.split('_')[1], int(name[-5])
    other = read(f'pfenet/r50_{dataset}_1shot')
    for key in ('optim_wrapper', 'param_scheduler', 'train_cfg', 'total_batch_size', 'auto_scale_lr'):
        assert cfg[key] == other[key]
    train = {**cfg.train_dataloader.dataset, 'shots': 1}
    assert train == other.train_dataloader.dataset and not train['dataset'].exclude_novel
    val = cfg.val_dataloader.dataset.protocol
    assert (val.runs, val.episodes, val.seed) == (1, dict(pascal=2000, coco=20000)[dataset], 321)
    assert cfg.test_protocol.name == 'asgnet' and cfg.model.norm_eval is False and not cfg.get('load_from')
    assert {cfg[f'{phase}_dataloader'].dataset.shots for phase in ('train', 'val', 'test')} == {shots}
    shares = cfg.model.decode_head.get('bins')
    assert shares == (None if dataset == 'pascal' else (1.0, 0.5, 0.25, 0.125))


@pytest.mark.parametrize(
    'name',
    [
        *STAGE2,
        *BAM,
        *PFENET,
        *CYCTR,
        *ASGNET,
        *PANET,
        *TABLE3,
        *(name for name in LITE if not name.startswith('pspnet')),
        *STORED,
        *WEIGHTLESS,
        *REPRI,
        *REPRI_LITE,
        'quickstart/msanet_shapes_1shot',
        'finetune/lite0_folder',
    ],
)
def test_the_variable_shots_is_followed_unless_weights_are_learnt_for_a_number(name, monkeypatch):
    plain = read(name)
    monkeypatch.setenv('SHOTS', '3')
    cfg = read(name)
    data = [cfg[key].dataset for key in ('train_dataloader', 'val_dataloader', 'test_dataloader') if cfg.get(key)]
    fixed = name.endswith('5shot')
    assert {d.shots for d in data} == {cfg.shots} == {5 if fixed else 3}
    assert cfg.work_dir == plain.work_dir + ('' if fixed else '_3shot')
    assert cfg.get('load_from') == plain.get('load_from') and cfg.model == plain.model


@pytest.mark.parametrize('name', CYCTR)
def test_cyctr(name):
    cfg = read(name)
    dataset, shots = name.split('_')[1], int(name[-5])
    epochs, batch, rate = dict(pascal=(200, 4, 0.0375), coco=(50, 8, 0.075))[dataset]
    assert cfg.total_batch_size == cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == batch
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=rate, momentum=0.9, weight_decay=1e-4)
    assert cfg.optim_wrapper.modules.transformer.optimizer == dict(type='AdamW', lr=1e-4, weight_decay=1e-2)
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler.rest[0].end == epochs and not cfg.param_scheduler.transformer
    assert cfg.train_cfg.val_begin == epochs // 5 + 1
    data = [cfg[f'{phase}_dataloader'].dataset for phase in ('train', 'val', 'test')]
    assert {d.shots for d in data} == {shots} and data[0].dataset.exclude_novel is False
    assert {d.dataset.get('year') for d in data} == {None if dataset == 'pascal' else '2017'}
    assert data[0].query_pipeline[-2].crop_size == data[1].query_pipeline[1].size == 473
    assert data[0].query_pipeline[2].ratio_range == dict(pascal=(0.9, 1.1), coco=(0.8, 1.25))[dataset]
    assert data[0].query_pipeline[1].with_base and 'with_base' not in data[0].support_pipeline[1]
    assert cfg.test_protocol.name == 'cyctr' and cfg.model.backbone.contract_dilation


@pytest.mark.parametrize('name', PANET)
def test_panet(name):
    cfg = read(name)
    assert cfg.total_batch_size == cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 1
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=1e-3, momentum=0.9, weight_decay=5e-4)
    assert cfg.train_cfg.max_iters == 30000 and cfg.param_scheduler[0].milestones == [10000, 20000]
    checkpoint = cfg.default_hooks.checkpoint
    assert checkpoint.save_best is None and not checkpoint.by_epoch and not cfg.default_hooks.published.use_best
    data = [cfg[f'{phase}_dataloader'].dataset for phase in ('train', 'val', 'test')]
    assert {d.dataset.candidate_area for d in data} == {1} and data[0].class_power == (None if '2way' in name else 0)
    assert not data[0].dataset.exclude_novel
    (same,) = {(d.dataset.ann_file if 'pascal' in name else d.dataset.data_prefix.img_path) for d in data}
    assert same == ('ImageSets/Segmentation/trainaug.txt' if 'pascal' in name else 'train2014')
    assert 'pascal' in name or {d.dataset.scheme for d in data} == {'panet'}
    assert [step['size'] for d in data for step in d.query_pipeline if 'size' in step] == [417] * 3
    assert not cfg.model.freeze_backbone and (cfg.model.decode_head.get('align_weight') == 0) == ('no_align' in name)
    assert cfg.test_protocol.name == 'panet' and cfg.test_dataloader.dataset.protocol.seed == 1234


@pytest.mark.parametrize('name', STAGE1)
def test_stage_1(name):
    cfg = read(name)
    dataset = name.split('_')[1]
    assert cfg.total_batch_size == cfg.train_dataloader.batch_size == 12
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=cfg.total_batch_size)
    assert cfg.optim_wrapper.optimizer.lr == dict(pascal=2.5e-4, coco=2.5e-3)[dataset]
    times = cfg.optim_wrapper.get('paramwise_cfg')
    assert times == (dict(custom_keys=dict(decode_head=dict(lr_mult=10.0))) if dataset == 'pascal' else None)
    assert cfg.train_cfg == dict(
        type='EpochBasedTrainLoop', val_interval=1, max_epochs=dict(pascal=100, coco=20)[dataset]
    )
    assert cfg.param_scheduler[0].end == cfg.train_cfg.max_epochs
    assert cfg.train_dataloader.dataset.pipeline[-2].crop_size == 417
    assert cfg.model.data_preprocessor.size == (417, 417)
    assert cfg.model.decode_head.num_classes == dict(pascal=16, coco=61)[dataset]
    assert cfg.sync_bn == 'torch', 'batch statistics are those of all processes'


@pytest.mark.parametrize('name', [*STAGE2, *BAM, *TABLE3, *ON_A_BASE_LEARNER])
def test_the_stages_meet(name, monkeypatch):
    monkeypatch.setenv('FOLD', '2')
    monkeypatch.setenv('MMFSS_WORK_ROOT', '/runs')
    cfg = read(name)
    stage1 = read(cfg.base_learner.config.removeprefix('configs/').removesuffix('.py'))
    assert cfg.work_dir == f'/runs/{name}/fold2'
    assert cfg.base_learner.checkpoint == f'{stage1.work_dir}/base_learner.pth'
    assert cfg.model.base_checkpoint == cfg.base_learner.checkpoint
    assert stage1.work_dir.endswith('/fold2') and stage1.fold == 2
    ours = {k: v for k, v in cfg.model.backbone.items()}
    theirs = {k: v for k, v in stage1.model.backbone.items() if k != 'init_cfg'}
    assert stage1.model.backbone.get('backbone', stage1.model.backbone).init_cfg.type == 'Pretrained'
    assert ours == theirs
    head = {k: v for k, v in stage1.model.decode_head.items() if k != 'loss_decode'}
    ours = cfg.model.base_head if 'base_head' in cfg.model else cfg.model.neck.base_head
    assert {k: v for k, v in ours.items() if k != 'loss_decode'} == head
    assert cfg.data_root == stage1.data_root


@pytest.mark.parametrize('name', REPRI_BASE)
def test_repris_stage_1(name):
    cfg = read(name)
    lite, coco = 'lite0' in name, 'coco' in name
    train, val = cfg.train_dataloader.dataset, cfg.val_dataloader.dataset
    assert [step.type for step in train.pipeline] == [
        'LoadFewShotImage',
        'mmseg.LoadAnnotations',
        'mmseg.RandomFlip',
        'mmseg.RandomFlip',
        'ResizeLongSide',
        'mmseg.PackSegInputs',
    ]
    assert [step.direction for step in train.pipeline[2:4]] == ['horizontal', 'vertical']
    assert (train.novel_label, train.image_filter, train.exclude_novel) == (255, 'candidates', False)
    assert val.labels == 'base' and val.novel_label == 255, 'weights are chosen by base classes alone'
    side = 257 if lite else 417
    assert train.pipeline[4].size == val.pipeline[2].size == cfg.model.data_preprocessor.size[0] == side
    assert cfg.model.decode_head.loss_decode == dict(type='SmoothedCrossEntropyLoss')
    assert cfg.model.decode_head.num_classes == (61 if coco else 16)
    if lite:
        return
    assert cfg.total_batch_size == cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 12
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=2.5e-3, momentum=0.9, nesterov=True, weight_decay=1e-4)
    assert 'paramwise_cfg' not in cfg.optim_wrapper and cfg.sync_bn == 'torch'
    (schedule,) = cfg.param_scheduler
    assert (schedule.type, schedule.eta_min, schedule.convert_to_iter_based) == ('CosineAnnealingLR', 1e-6, True)
    assert schedule.end == cfg.train_cfg.max_epochs == (20 if coco else 100)


@pytest.mark.parametrize('name', [*REPRI, *REPRI_ORACLE, *COCO_TO_PASCAL])
def test_repris_test(name):
    cfg = read(name)
    assert cfg.test_protocol.name == 'repri' and cfg.test_dataloader.dataset.shots == int(name[-5])
    for kind in ('query_pipeline', 'support_pipeline'):
        steps = [step.type for step in cfg.test_dataloader.dataset[kind]]
        assert steps.index('LoadFewShotAnnotations') < steps.index('ResizeLongSide')
        assert cfg.test_dataloader.dataset[kind][2].size == 417
    truthful = 'oracle' in name
    assert cfg.model.data_preprocessor.get('query_labels', False) == truthful
    recipe = dict(iterations=300, proportion_weight=1.0, entropy_weight=0.1)
    told = dict(type='RePRIHead', valid='truth', oracle=True, recipe=recipe)
    assert cfg.model.decode_head == (told if truthful else dict(type='RePRIHead'))


@pytest.mark.parametrize('fold', range(4))
def test_from_coco_to_pascal_the_classes_are_those_that_the_base_learner_does_not_know(fold, monkeypatch):
    monkeypatch.setenv('FOLD', str(fold))
    monkeypatch.setenv('MMFSS_WORK_ROOT', '/runs')
    cfg, stage1 = read('repri/coco2pascal/r50_1shot'), read('repri/base_r50_coco')
    assert cfg.model.base_checkpoint == f'{stage1.work_dir}/base_learner.pth' and cfg.get('base_learner') is None
    coco = COCO20iDataset.METAINFO['classes']
    called = dict(
        aeroplane='airplane',
        diningtable='dining table',
        motorbike='motorcycle',
        pottedplant='potted plant',
        sofa='couch',
        tvmonitor='tv',
    )
    known = {coco[c] for c in range(1, 81) if (c - 1) % 4 != fold}
    pascal = Pascal5iDataset.METAINFO['classes'][1:]
    assert set(cfg.test_dataloader.dataset.dataset.novel_classes) == {
        c for c in pascal if called.get(c, c) not in known
    }


@pytest.fixture(scope='module')
def count():
    """Counts a config's parameters without giving them memory."""
    path = REPO / 'tools/analysis_tools/count_parameters.py'
    module = load_script(path)

    def count(name: str) -> tuple[float, float]:
        with torch.device('meta'):
            return tuple(n / 1e6 for n in module.count_parameters(f'configs/{name}.py'))

    return count


@pytest.mark.parametrize(
    'backbone, total, learned', [('r50', 51.85, 5.13), ('r101', 70.84, 5.13), ('vgg16', 24.45, 4.74)]
)
def test_parameters_are_those_of_the_released_code(count, backbone, total, learned):
    found = count(f'msanet/{backbone}_pascal_1shot')
    assert found == (pytest.approx(total, abs=0.005), pytest.approx(learned, abs=0.005))


def test_a_part_that_is_left_out_costs_no_parameters(count):
    whole = count('msanet/r101_pascal_1shot')[1] * 1e6
    saved = {name.split('1shot_')[1]: round(whole - count(name)[1] * 1e6) for name in TABLE3}
    squeeze, gate, merge = 30 * 64 + 64 + 2 * 64, 2 * (256 * 256 + 256), 256
    assert saved == dict(
        no_similarity=squeeze + 64 * merge,
        no_prototype=256 * merge,
        no_attention=gate + 256 * merge,
        no_prior=merge,
        similarity_attention=(256 + 1) * merge,
    )


def test_the_meta_learner_alone_has_no_base_head(count):
    total, learned = count('msanet/ablations/r101_pascal_1shot_meta')
    whole = count('msanet/r101_pascal_1shot')
    assert learned == pytest.approx(whole[1], abs=1e-5)  # but for the four merging weights
    assert total < whole[0] - 20


def test_repri_has_the_parameters_of_the_released_model(count):
    found = [count(f'repri/{name}')[0] * 1e6 for name in ('r50_pascal_1shot', 'r50_coco_1shot', 'r101_coco_1shot')]
    assert [round(n) for n in found] == [46_713_808, 46_736_893, 65_729_021]
    assert count('repri/r50_pascal_1shot')[1] == 0


@pytest.mark.parametrize('name', WEIGHTLESS)
def test_nothing_is_trained_of_a_method_that_learns_nothing(name, monkeypatch):
    monkeypatch.setenv('FOLD', '2')
    monkeypatch.setenv('MMFSS_WORK_ROOT', '/runs')
    cfg = read(name)
    assert not any(cfg.get(key) for key in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'val_dataloader'))
    assert cfg.work_dir == f'/runs/{name}/fold2' and cfg.test_dataloader.dataset.dataset.fold == 2
    backbone = cfg.model.backbone
    assert backbone.get('backbone', backbone).init_cfg.type == 'Pretrained'


def test_the_stored_recipe_is_the_plain_one_but_for_its_features():
    plain, stored = (read(f'msanet/lite0_pascal_1shot{end}').to_dict() for end in ('', '_stored'))
    store = stored['train_cfg'].pop('feature_store')
    assert store == dict(folder='work_dirs/feature_store', views=2)
    assert {key for key in plain if plain[key] != stored[key]} == {'work_dir'}


METHODS = sorted(path.parent.name for path in CONFIGS.glob('*/metafile.yml'))


def test_the_index_names_every_metafile():
    index = yaml.safe_load((REPO / 'model-index.yml').read_text())
    assert sorted(index['Import']) == [f'configs/{method}/metafile.yml' for method in METHODS]
    assert {name.split('/')[0] for name in ALL} - {'quickstart', 'finetune'} == set(METHODS)


@pytest.mark.parametrize('method', METHODS)
def test_metafiles_name_every_config(method):
    meta = yaml.safe_load((CONFIGS / method / 'metafile.yml').read_text())
    named = [model['Config'] for model in meta['Models']]
    assert len(set(named)) == len(named)
    assert {f'configs/{name}.py' for name in ALL if name.startswith(f'{method}/')} == set(named)
    collections = {collection['Name'] for collection in meta['Collections']}
    assert {model['In Collection'] for model in meta['Models']} == collections
    assert all(model['Name'] for model in meta['Models'])
