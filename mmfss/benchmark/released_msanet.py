# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A checkout of the authors' MSANet as a competitor: made without a GPU, without its data code and weight files.

Nothing of it is part of this repository. What its constructor wants and a benchmark does not have is answered from
outside: files of weights by nothing, its data helpers by an empty module, CUDA by staying where the tensors are.
"""

import contextlib
import io
import types
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

from mmfss.conversion import METHODS
from mmfss.conversion.names import backbone_rules
from mmfss.conversion.variant import RELEASED_DATASETS
from mmfss.models.layers.norms import eval_norms

from .checkouts import check_checkout, its_module, released_state
from .competitors import Inputs, Peer
from .episodes import samples
from .models import Setup
from .parts import Parts, modules

REPOSITORY = 'AIVResearch/MSANet'
_DEPTHS = {6: 50, 23: 101}  # blocks of layer3


class ReleasedMSANet(Peer):
    """The released model with the weights of ours.

    Args:
        folder (str | Path): The checkout.
        own (nn.Module): A BaseLearnerEnsemble with MSANetHead on VGG16 or ResNet.
        setup (Setup): What is measured.

    Raises:
        FileNotFoundError: When the folder is no checkout.
        ValueError: When the released code has no such model.
    """

    def __init__(self, folder: str | Path, own: nn.Module, setup: Setup):
        check_checkout(folder, REPOSITORY)
        options = _options(own, setup)
        self.base_classes = own.base_head.num_classes - 1
        with its_module(Path(folder), 'model.MSANet', _empty_helpers()) as module, _without_weight_files():
            model = module.OneModel(options, cls_type='Base')
        self.module = module
        rules = (*METHODS['msanet'].rules, *backbone_rules(model.state_dict().keys()))
        model.load_state_dict(released_state(own, model, rules))
        model.freeze_modules(model)
        super().__init__('released', model.to(setup.device).eval(), setup)

    @torch.no_grad()
    def scores(self, inputs: Inputs) -> dict[str, Tensor]:
        """See :meth:`Competitor.scores`."""
        with _where_the_tensors_are(inputs['query'].device):
            found = self.model(inputs['query'], inputs['support'], inputs['support_mask'], None, None)
        return dict(zip(('final', 'meta', 'base'), found, strict=True))

    def losses(self, inputs: Inputs) -> Tensor:
        """See :meth:`Competitor.losses`."""
        setup, device = self.setup, inputs['query'].device
        annotated = samples(setup.batch_size, setup.size, setup.share, self.base_classes, device)
        labels, base = (torch.cat([s.get(name).data for s in annotated]) for name in ('gt_sem_seg', 'gt_base_seg'))
        indices = [torch.tensor([s.metainfo['base_index'] for s in annotated], device=device)]
        with _where_the_tensors_are(device):
            _, *losses = self.model(inputs['query'], inputs['support'], inputs['support_mask'], labels, base, indices)
        return sum(losses)

    def train(self, mode: bool) -> None:
        """As its training script has it: every BatchNorm keeps its statistics."""
        super().train(mode)
        eval_norms(self.model)

    def parts(self) -> Parts:
        """Its prior mask and its merging stand in ``forward`` itself and count as rest."""
        model = self.model
        return {
            'backbone': [(model, 'extract_feats')],
            'reduction': modules(model, 'down_query', 'down_supp'),
            'similarity': [(model, 'mask_feature'), (self.module.Correlation, 'multilayer_correlation')],
            'attention': modules(model, 'gam'),
            'adjustment': [(self.module, 'get_gram_matrix')],
            'decoder': modules(model, 'init_merge', 'ASPP_meta', 'res1_meta', 'res2_meta', 'cls_meta'),
            'base head': modules(model, 'learner_base'),
        }


def _options(own: nn.Module, setup: Setup) -> Namespace:
    """The fields of its yaml files that the constructor reads."""
    head, backbone = type(getattr(own, 'decode_head', None)).__name__, type(own.backbone).__name__
    outputs = own.base_head.num_classes if hasattr(own, 'base_head') else None
    dataset = next((name for name, (*_, number) in RELEASED_DATASETS.items() if number == outputs), None)
    vgg = backbone == 'BlockVGG'
    depth = 50 if vgg else _DEPTHS.get(own.backbone.num_blocks['layer3'])
    if head != 'MSANetHead' or dataset is None or depth is None or backbone not in ('BlockVGG', 'BlockResNet'):
        raise ValueError(
            f'the released code has no model like that of {setup.config} ({head}, {backbone}): --reference goes with '
            'MSANet on VGG16, ResNet-50 or ResNet-101, on PASCAL-5i or COCO-20i'
        )
    return Namespace(
        layers=depth,
        vgg=vgg,
        data_set=dataset,
        shot=setup.shots,
        split=0,
        zoom_factor=8,
        ignore_label=255,
        print_freq=10,
        low_fea='layer2',
        kshot_trans_dim=2,
    )


def _empty_helpers() -> dict[str, types.ModuleType]:
    """Data helpers that its model imports and a benchmark does not need."""
    helpers = types.ModuleType('util.util')
    helpers.get_train_val_set = None
    return {'util': types.ModuleType('util'), 'util.util': helpers}


@contextmanager
def _without_weight_files() -> Iterator[None]:
    """Its constructor reads ImageNet's weights and a base learner; here all weights follow later. It prints as well."""
    nothing = mock.patch.object(torch, 'load', lambda *args, **kwargs: dict(state_dict={}))
    ignore = mock.patch.object(nn.Module, 'load_state_dict', lambda self, *args, **kwargs: None)
    with nothing, ignore, contextlib.redirect_stdout(io.StringIO()):
        yield


@contextmanager
def _where_the_tensors_are(device: torch.device) -> Iterator[None]:
    """Calls that ask for CUDA get the device of the inputs."""
    if device.type == 'cuda':
        yield
        return
    arange = torch.arange

    def on_device(*args, **kwargs) -> Tensor:
        return arange(*args, **{**kwargs, 'device': device})

    with (
        mock.patch.object(torch.Tensor, 'cuda', lambda self, *a, **k: self),
        mock.patch.object(torch, 'arange', on_device),
    ):
        yield
