# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A checkout of the authors' HSNet as a competitor: made without files of ImageNet weights, with the weights of ours.

Nothing of it is part of this repository.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn
from torchvision.models import resnet, vgg

from mmfss.conversion.hsnet import HSNET_KEYS
from mmfss.models.layers.voting import vote

from .checkouts import check_checkout, its_module, released_state
from .competitors import Inputs, Peer
from .episodes import samples
from .models import Setup
from .parts import Parts, modules

REPOSITORY = 'juhongm999/hsnet'
_DEPTHS = {6: 'resnet50', 23: 'resnet101'}  # blocks of layer3
_MAKERS = ((resnet, 'resnet50'), (resnet, 'resnet101'), (vgg, 'vgg16'))


class ReleasedHSNet(Peer):
    """The released model with the weights of ours.

    Args:
        folder (str | Path): The checkout.
        own (nn.Module): A FewShotSegmentor with HSNetHead on PlainVGG or BlockResNet.
        setup (Setup): What is measured.

    Raises:
        FileNotFoundError: When the folder is no checkout.
        ValueError: When the released code has no such model.
    """

    def __init__(self, folder: str | Path, own: nn.Module, setup: Setup):
        check_checkout(folder, REPOSITORY)
        name = _backbone_name(own, setup)
        with its_module(Path(folder), 'model.hsnet') as module, without_weight_files():
            model = module.HypercorrSqueezeNetwork(name, False)
        self.module = module
        model.load_state_dict(released_state(own, model, HSNET_KEYS, keep_others=True))
        super().__init__('released', model.to(setup.device).eval(), setup)

    @torch.no_grad()
    def scores(self, inputs: Inputs) -> dict[str, Tensor]:
        """See :meth:`Competitor.scores`. Shots one by one, as its own ``predict_mask_nshot`` has it."""
        return dict(final=vote(torch.stack(self._shots(inputs), dim=1)))

    def losses(self, inputs: Inputs) -> Tensor:
        """See :meth:`Competitor.losses`."""
        setup = self.setup
        annotated = samples(setup.batch_size, setup.size, setup.share, 1, inputs['query'].device)
        labels = torch.cat([s.gt_sem_seg.data for s in annotated]) == 1
        losses = [self.model.compute_objective(logits, labels) for logits in self._shots(inputs)]
        return sum(losses) / len(losses)

    def train(self, mode: bool) -> None:
        """As its training script has it: the backbone stays in eval mode."""
        self.model.train_mode() if mode else self.model.eval()

    def learned(self) -> list[nn.Parameter]:
        """Parameters that training changes; the others are the optimiser's too, but never get a gradient."""
        return list(self.model.hpn_learner.parameters())

    def parts(self) -> Parts:
        """Backbone, correlations with their masking, and the learner."""
        return {
            'backbone': [(self.model, 'extract_feats')],
            'correlation': [(self.model, 'mask_feature'), (self.module.Correlation, 'multilayer_correlation')],
            'learner': modules(self.model, 'hpn_learner'),
        }

    def _shots(self, inputs: Inputs) -> list[Tensor]:
        """Logits (B, 2, H, W) of each shot."""
        pairs = zip(inputs['support'].unbind(1), (inputs['support_mask'] == 1).float().unbind(1), strict=True)
        return [self.model(inputs['query'], image, mask) for image, mask in pairs]


def _backbone_name(own: nn.Module, setup: Setup) -> str:
    """What the released constructor calls the backbone of ours."""
    head, backbone = type(own.decode_head).__name__, type(own.backbone).__name__
    name = 'vgg16' if backbone == 'PlainVGG' else _DEPTHS.get(own.backbone.num_blocks['layer3'])
    if head != 'HSNetHead' or name is None or backbone not in ('PlainVGG', 'BlockResNet'):
        raise ValueError(
            f'{REPOSITORY} has no model like that of {setup.config} ({head}, {backbone}): it has HSNet on VGG16, '
            'ResNet-50 or ResNet-101'
        )
    return name


@contextmanager
def without_weight_files() -> Iterator[None]:
    """Its constructor asks torchvision for ImageNet's weights; here all weights follow later."""
    with ExitStack() as stack:
        for module, name in _MAKERS:
            make = getattr(module, name)
            stack.enter_context(mock.patch.object(module, name, lambda *a, make=make, **k: make(weights=None)))
        yield
