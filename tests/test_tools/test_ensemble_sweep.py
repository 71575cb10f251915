# Copyright (c) mmfss contributors. Licensed under Apache-2.0.

import torch
from helpers import load_script
from mmengine.registry import init_default_scope
from tool_runs import REPO

from mmfss.registry import MODELS


def test_variants_agree_where_their_weights_do():
    tool = load_script(REPO / 'tools/analysis_tools/ensemble_sweep.py')
    init_default_scope('mmfss')
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='BaseLearnerEnsemble',
            backbone=dict(type='BlockResNet', depth=18, base_channels=8),
            decode_head=dict(type='MSANetHead', channels=8, similarity_channels=4),
            base_head=dict(type='mmseg.PSPHead', in_channels=64, channels=8, num_classes=4),
        )
    ).eval()
    image, mask = torch.randn(2, 3, 64, 64), torch.zeros(2, 1, 64, 64)
    mask[..., 20:40, 20:40] = 1

    def variants():
        with torch.no_grad():
            return tool.ensembles(model, model.extract_feat(image), model.encode_support(image.unsqueeze(1), mask))

    start = variants()  # w = v = (1, 0): the ensemble is the meta learner
    torch.testing.assert_close(start['learnt (final)'], start['plain, v2 = 0'])
    model.merge_base.weight.data[0, 1] = 0.5
    moved = variants()
    torch.testing.assert_close(moved['learnt (final)'], moved['plain, v2 = 0.5'])
    torch.testing.assert_close(moved['learnt, v2 = 0'], start['learnt (final)'])
    model.merge_adjustment.weight.data[0] = torch.tensor([2.0, 0.3]).view(2, 1, 1)
    weighted = variants()
    base = weighted['base'][:, 1:]
    torch.testing.assert_close(
        weighted['learnt (final)'] - weighted['learnt, v2 = 0'], torch.cat([0.5 * base, torch.zeros_like(base)], dim=1)
    )
