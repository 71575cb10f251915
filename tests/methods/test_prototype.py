# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The prototype floor through the model tester."""

from model_tester import ModelTester


class TestPrototypeHead(ModelTester):
    head = dict(type='PrototypeHead')
    ignores_void = False
    learned = False
