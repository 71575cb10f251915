# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""VAT through the model tester, its parts against loops, and against the released code."""

import toys
from model_tester import ModelTester

VAT = dict(type='VATHead', channels=32, side=32, window=2, plane_window=4)
ALL = ('layer3', 'layer2', 'layer1')


class TestVAT(ModelTester):
    """As on FSS-1000: every projection is used."""

    head = dict(VAT, appearance=ALL)


class TestVATOnPascal(ModelTester):
    head = VAT

    def test_loss_mode_trains_what_is_learned(self, model):
        """All but the projection that the data set does not use."""
        losses = model.train().loss(toys.episodes(2, 1, self.size), toys.samples(2, self.size))
        losses['loss_final'].backward()
        without = {name for name, p in model.decode_head.named_parameters() if p.grad is None or not p.grad.any()}
        assert without == {'project.layer3.weight', 'project.layer3.bias'}


def model(**options):
    return toys.build(dict(type='FewShotSegmentor', backbone=toys.RESNET, decode_head=dict(VAT, **options)))
