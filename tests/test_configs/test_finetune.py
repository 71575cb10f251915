# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""configs/finetune: goes on from a meta learner that was trained with a base learner, on folders of one's own."""

from pathlib import Path

import pytest
import torch
from helpers import write_class_folders
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmfss.registry import DATASETS, MODELS
from mmfss.utils.weights import weight_differences

REPO = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    'name, trained_by',
    [
        ('finetune/lite0_folder', 'msanet/lite0_pascal_1shot'),
        ('finetune/quickstart_folder', 'quickstart/msanet_shapes_1shot'),
    ],
)
def test_the_ensembles_meta_learner_fits_and_computes_the_same(name, trained_by, tmp_path, monkeypatch):
    pytest.importorskip('timm')
    folder = write_class_folders(tmp_path / 'mine', ('red', 'green'), images=5)
    monkeypatch.setenv('MMFSS_DATA_ROOT', str(folder))
    monkeypatch.setenv('MMFSS_TRAIN_IMAGES', '3')
    cfg, full = (Config.fromfile(REPO / f'configs/{name}.py') for name in (name, trained_by))
    init_default_scope('mmfss')
    torch.manual_seed(0)
    full.model.update(base_checkpoint=None, feature_cache_gb=0)
    ensemble, model = MODELS.build(full.model).eval(), MODELS.build(cfg.model).eval()
    state = ensemble.state_dict()
    assert weight_differences(model.state_dict(), state, cfg.default_hooks.checkpoint_guard.ignore) == []
    assert model.backbone.init_cfg is None
    assert cfg.load_from.endswith(full.work_dir.split('work_dirs/')[-1] + '/meta_learner.pth')
    model.load_state_dict(state, strict=False)
    images, mask = torch.rand(2, 3, 65, 65), torch.zeros(1, 1, 65, 65)
    mask[..., 20:40, 20:40] = 1
    with torch.no_grad():
        scores = [
            m.segment(m.extract_feat(images[:1]), m.encode_support(images[1:, None], mask)) for m in (ensemble, model)
        ]
    assert torch.equal(scores[0]['meta'], scores[1]['final'])
    train, test = (DATASETS.build(cfg[f'{part}_dataloader'].dataset) for part in ('train', 'test'))
    assert len(train) == 6 and len(test) == 600
    assert train[0]['inputs']['query'].shape == test[0]['inputs']['query'].shape == (3, 257, 257)
    assert 'val_dataloader' not in cfg  # no weights are chosen by looking at the test images
