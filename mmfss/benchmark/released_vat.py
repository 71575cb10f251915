# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A checkout of the authors' VAT as a competitor, made as HSNet's is, whose code it goes on from.

Nothing of it is part of this repository.
"""

from argparse import Namespace
from pathlib import Path

from torch import Tensor, nn

from mmfss.conversion.vat import VAT_KEYS

from .checkouts import check_checkout, its_module, released_state
from .competitors import Peer
from .models import Setup
from .released_hsnet import ReleasedHSNet, without_weight_files

REPOSITORY = 'Seokju-Cho/Volumetric-Aggregation-Transformer'
_DEPTHS = {6: 'resnet50', 23: 'resnet101'}  # blocks of layer3
_DATASETS = {('layer1',): 'coco', ('layer2', 'layer1'): 'pascal', ('layer3', 'layer2', 'layer1'): 'fss'}


class ReleasedVAT(ReleasedHSNet):
    """The released model with the weights of ours.

    Args:
        folder (str | Path): The checkout. Its code needs einops and timm.
        own (nn.Module): A FewShotSegmentor with VATHead of the published size on BlockResNet.
        setup (Setup): What is measured.

    Raises:
        FileNotFoundError: When the folder is no checkout.
        ValueError: When the released code has no such model, or a package that it needs is missing.
    """

    def __init__(self, folder: str | Path, own: nn.Module, setup: Setup):
        check_checkout(folder, REPOSITORY)
        config = _config(own, setup)
        try:
            with its_module(Path(folder), 'model.vat') as module, without_weight_files():
                model = module.VAT(config, False)
        except ModuleNotFoundError as error:
            raise ValueError(f'{REPOSITORY} needs {error.name}: pip install {error.name}') from error
        self.module = module
        model.load_state_dict(released_state(own, model, VAT_KEYS, keep_others=True))
        model.backbone.requires_grad_(False)  # as its training does, which gives the optimiser the learner alone
        for encoder in model.hpn_learner.ours.encoders[1:]:
            encoder.register_forward_hook(_copied)
        Peer.__init__(self, 'released', model.to(setup.device).eval(), setup)


def _copied(module: nn.Module, inputs: tuple, output: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Its forward adds in place to what a ReLU gave, which torch refuses backwards by now: it adds to a copy."""
    return (output[0].clone(), *output[1:]) if output[0].requires_grad else output


def _config(own: nn.Module, setup: Setup) -> Namespace:
    """The fields of its config that the model reads."""
    head, backbone = own.decode_head, type(own.backbone).__name__
    name = _DEPTHS.get(own.backbone.num_blocks['layer3'])
    dataset = _DATASETS.get(getattr(getattr(head, 'decode', None), 'appearance', None))
    if type(head).__name__ != 'VATHead' or None in (name, dataset) or backbone != 'BlockResNet':
        raise ValueError(
            f'{REPOSITORY} has no model like that of {setup.config} ({type(head).__name__}, {backbone}): it has VAT on '
            'ResNet-50 or ResNet-101'
        )
    return Namespace(TRAIN=Namespace(BACKBONE=name, BENCHMARK=dataset, MASK=True))
