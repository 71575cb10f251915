# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Every method of mmfss through the model tester."""

import toys
from model_tester import ModelTester


class TestMSANet(ModelTester):
    segmentor = 'BaseLearnerEnsemble'
    head = toys.MSANET


class TestMSANetFiveShots(ModelTester):
    segmentor = 'BaseLearnerEnsemble'
    head = dict(toys.MSANET, shot_weighting=dict(shots=5))
    shots = 5


class TestMSANetVariants(ModelTester):
    """The paper's Eq. 4, weights restored to their shots, two block groups."""

    segmentor = 'BaseLearnerEnsemble'
    head = dict(toys.MSANET, squeezing='paper', block_groups=(2, 4), shot_weighting=dict(shots=3, restore_order=True))
    shots = 3


class TestMSANetMeta(ModelTester):
    """Without base learner."""

    head = toys.MSANET


class TestMSANetOnVGG(ModelTester):
    segmentor = 'BaseLearnerEnsemble'
    head = toys.MSANET
    backbone = toys.VGG
    base_head = dict(toys.BASE_HEAD, type='NarrowPSPHead', in_channels=16, pyramid_channels=4)


class TestPrototypeHead(ModelTester):
    head = dict(type='PrototypeHead')
    ignores_void = False
    learned = False


class TestPriorMaskHead(ModelTester):
    head = dict(type='PriorMaskHead')
    learned = False
    batch_tolerance = 3e-5  # stretching a narrow range of cosines to 0..1 stretches the backbone's rounding too
