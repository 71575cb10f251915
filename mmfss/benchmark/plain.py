# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The plain implementation that the tests hold, as a competitor where there is no released checkout."""

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from .competitors import Inputs, Peer
from .episodes import samples
from .models import Setup
from .parts import Parts, methods

PLAIN_FILE = Path(__file__).parents[2] / 'tests' / 'plain_msanet.py'


def can_be_plain(own: nn.Module) -> bool:
    """Whether the plain implementation knows a model of this kind."""
    head, backbone = type(getattr(own, 'decode_head', None)).__name__, type(own.backbone).__name__
    return hasattr(own, 'base_head') and head == 'MSANetHead' and backbone in ('BlockVGG', 'BlockResNet')


class PlainMSANet(Peer):
    """``tests/plain_msanet.py`` on the weights of ours.

    Args:
        file (str | Path): The implementation.
        own (nn.Module): A BaseLearnerEnsemble with MSANetHead on BlockVGG or BlockResNet.
        setup (Setup): What is measured.
    """

    def __init__(self, file: str | Path, own: nn.Module, setup: Setup):
        spec = importlib.util.spec_from_file_location('plain_msanet', file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        learned = {name for name, parameter in own.named_parameters() if parameter.requires_grad}
        self.state = {
            name: tensor.detach().clone().contiguous().requires_grad_(name in learned)
            for name, tensor in own.state_dict().items()
        }
        self.parameter_count = sum(p.numel() for p in own.parameters())
        self.base_classes = own.base_head.num_classes - 1
        self.plain = module.PlainMSANet(
            self.state,
            dilations=[branch[0].dilation[0] for branch in own.decode_head.decoder.aspp.branches[2:]],
            bins=own.base_head.pool_scales,
        )
        super().__init__('plain', None, setup)

    @torch.no_grad()
    def scores(self, inputs: Inputs) -> dict[str, Tensor]:
        """See :meth:`Competitor.scores`."""
        return self.plain(inputs['query'], inputs['support'], inputs['support_mask'])

    def losses(self, inputs: Inputs) -> Tensor:
        """See :meth:`Competitor.losses`."""
        setup = self.setup
        annotated = samples(setup.batch_size, setup.size, setup.share, self.base_classes, inputs['query'].device)
        labels, base = (torch.cat([s.get(name).data for s in annotated]) for name in ('gt_sem_seg', 'gt_base_seg'))
        classes = torch.tensor([s.metainfo['base_index'] for s in annotated], device=labels.device)
        scores = self.plain(inputs['query'], inputs['support'], inputs['support_mask'], classes, dropout=True)
        return self.plain.loss(scores, labels, base)

    def train(self, mode: bool) -> None:
        """Nothing to switch: dropout is an argument and BatchNorm keeps its statistics."""

    def learned(self) -> list[Tensor]:
        """See :meth:`Competitor.learned`."""
        return [tensor for tensor in self.state.values() if tensor.requires_grad]

    def count_parameters(self) -> int:
        """Those of ours: it has the same."""
        return self.parameter_count

    def parts(self) -> Parts:
        """By its methods."""
        plain = self.plain
        return {
            'backbone': methods(plain, 'backbone'),
            'reduction': methods(plain, 'reduction'),
            'similarity': methods(plain, 'similarity'),
            'prior': methods(plain, 'prior'),
            'attention': methods(plain, 'attention'),
            'adjustment': methods(plain, 'gram'),
            'decoder': methods(plain, 'decoder'),
            'base head': methods(plain, 'base_learner'),
        }
