# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The shipped configs, and how they shrink until one step takes a second."""

from pathlib import Path

import numpy as np
from helpers import draw_mask
from mmengine.config import Config
from PIL import Image

from mmfss.utils.configs import type_name

REPO = Path(__file__).resolve().parents[2]
CONFIGS = REPO / 'configs'
BACKBONES, DATASETS, SHOTS = ('vgg16', 'r50', 'r101'), ('pascal', 'coco'), (1, 5)
STAGE1 = tuple(f'pspnet/{b}_{d}' for b in BACKBONES for d in DATASETS)
STAGE2 = tuple(f'msanet/{b}_{d}_{k}shot' for b in BACKBONES for d in DATASETS for k in SHOTS)
BAM, PFENET = (
    tuple(f'{method}/{b}_{d}_{k}shot' for b in BACKBONES for d in DATASETS for k in SHOTS)
    for method in ('bam', 'pfenet')
)
HSNET = tuple(
    f'hsnet/{b}_{d}_{k}shot' for b in BACKBONES for d in DATASETS for k in SHOTS if (b, d) != ('vgg16', 'coco')
)
HSNET_FSS = tuple(f'hsnet/{b}_fss_{k}shot' for b in ('r50', 'r101') for k in SHOTS)
VAT = tuple(f'vat/{b}_{d}_{k}shot' for b in ('r50', 'r101') for d in DATASETS for k in SHOTS)
VAT_FIVE = tuple(name for name in VAT if name.endswith('5shot'))
VAT_FSS = tuple(f'vat/{b}_fss_{k}shot' for b in ('r50', 'r101') for k in SHOTS)
CYCTR = tuple(f'cyctr/{b}_{d}_{k}shot' for b in BACKBONES[1:] for d in DATASETS for k in SHOTS)
ASGNET = tuple(f'asgnet/{b}_{d}_{k}shot' for b in ('r50', 'r101') for d in DATASETS for k in SHOTS)
TABLE3 = tuple(
    f'msanet/ablations/r101_pascal_1shot_{part}'
    for part in ('no_similarity', 'no_prototype', 'no_attention', 'no_prior', 'similarity_attention')
)
VARIANTS = tuple(
    f'msanet/ablations/r101_pascal_{part}'
    for part in (
        '1shot_blocks2',
        '1shot_blocks3',
        '1shot_blocks4',
        '1shot_paper_squeezing',
        '1shot_meta',
        '5shot_restored_order',
    )
)
PANET = (
    *(f'panet/vgg16_{d}_{k}shot' for d in DATASETS for k in SHOTS),
    *(f'panet/vgg16_pascal_2way_{k}shot' for k in SHOTS),
    *(f'panet/ablations/vgg16_pascal_no_align_{k}shot' for k in SHOTS),
)
# Stage 1 is what RePRI learns; its own configs test, and oracle/ with the true share of foreground.
REPRI_BASE = (*(f'repri/base_{b}_{d}' for b in ('r50', 'r101') for d in DATASETS), 'repri/base_lite0_pascal')
REPRI = tuple(f'repri/{b}_{d}_{k}shot' for b in ('r50', 'r101') for d in DATASETS for k in SHOTS)
REPRI_ORACLE = tuple(f'repri/oracle/{name.split("/")[1]}' for name in REPRI if 'r101_coco' not in name)
REPRI_LITE = tuple(f'repri/lite0_pascal_{k}shot' for k in SHOTS)
COCO_TO_PASCAL = tuple(f'repri/{n}_{k}shot' for n in ('coco2pascal/r50', 'oracle/coco2pascal_r50') for k in SHOTS)
ON_A_BASE_LEARNER = (*REPRI, *REPRI_ORACLE, *REPRI_LITE)
STORED = ('msanet/lite0_pascal_1shot_stored',)
WEIGHTLESS = tuple(
    f'{m}/{name}' for m in ('prototype', 'prior_mask') for name in ('lite0_pascal', 'r50_pascal', 'r50_coco')
)
PHOTOS = 'prototype_residual/lite0_photos'
LITE = tuple(
    name
    for name in (str(path.relative_to(CONFIGS).with_suffix('')) for path in sorted(CONFIGS.glob('*/lite0_pascal*.py')))
    if name not in (*STORED, *WEIGHTLESS, *REPRI_LITE)
)
TRAINED = (
    *STAGE1,
    *REPRI_BASE,
    *STAGE2,
    *BAM,
    *PFENET,
    *HSNET,
    *(name for name in VAT if name not in VAT_FIVE),
    *CYCTR,
    *ASGNET,
    *PANET,
    *TABLE3,
    *VARIANTS,
    *LITE,
    *STORED,
    PHOTOS,
)
# On data of their own: tests/test_tools/test_quickstart.py, test_finetuning.py and test_hsnet_recipes.py run them.
ELSEWHERE = (
    *HSNET_FSS,
    *VAT_FSS,
    *VAT_FIVE,  # one step is five of the 1-shot's, a minute each; test_vat_recipes.py reads them
    'quickstart/pspnet_shapes',
    'quickstart/msanet_shapes_1shot',
    'finetune/lite0_folder',
    'finetune/quickstart_folder',
)
ALL = (*TRAINED, *WEIGHTLESS, *ON_A_BASE_LEARNER, *COCO_TO_PASCAL, *ELSEWHERE)

SIDE = 33  # of the network's input in these tests
IMAGES_A_CLASS = 6  # a query and five supports


def read(name: str) -> Config:
    """A shipped config."""
    return Config.fromfile(CONFIGS / f'{name}.py')


def shrink(cfg: Config) -> Config:
    """The same config on images of :data:`SIDE` pixels, without files of earlier stages."""
    for loader in filter(None, (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader)):
        _shrink_pipelines(loader.dataset)
        if loader.dataset.get('protocol', {}).get('min_images'):
            loader.dataset.protocol.min_images = IMAGES_A_CLASS
    if 'size' in cfg.model.data_preprocessor:
        cfg.model.data_preprocessor.size = (SIDE, SIDE)
    backbone = cfg.model.backbone
    backbone.get('backbone', backbone).pop('init_cfg', None)
    return cfg


def _shrink_pipelines(value) -> None:
    sizes = dict(
        ForegroundCrop=('crop_size', SIDE),
        ResizeLongSide=('size', SIDE),
        SquashResize=('size', SIDE),
        Resize=('scale', (SIDE, SIDE)),
    )
    for step in value.values() if isinstance(value, dict) else value:
        if isinstance(step, dict) and type_name(step) in sizes:
            field, size = sizes[type_name(step)]
            assert field in step, step
            step[field] = size
        elif isinstance(step, (dict, list)):
            _shrink_pipelines(step)


def write_images(images: Path, masks: Path, classes: tuple[int, ...]) -> list[str]:
    """Six images of each class; returns their names."""
    rng = np.random.default_rng(0)
    names = []
    for folder in (images, masks):
        folder.mkdir(parents=True, exist_ok=True)
    for c in classes:
        for k in range(IMAGES_A_CLASS):
            mask = draw_mask([(c, 300)])
            image = rng.integers(0, 80, (*mask.shape, 3)) + 8 * (mask[..., None] % 21)
            names.append(f'{images.name}_{c:02d}_{k}')
            Image.fromarray(image.astype(np.uint8)).save(images / f'{names[-1]}.jpg')
            Image.fromarray(mask).save(masks / f'{names[-1]}.png')
    return names
