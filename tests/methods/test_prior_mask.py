# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The prior mask floor through the model tester."""

from model_tester import ModelTester


class TestPriorMaskHead(ModelTester):
    head = dict(type='PriorMaskHead')
    learned = False
    batch_tolerance = 3e-5  # stretching a narrow range of cosines to 0..1 stretches the backbone's rounding too
