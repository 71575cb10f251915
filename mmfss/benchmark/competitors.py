# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Who is measured: mmfss, and a peer that computes the same from the same weights. Both are asked in one way."""

from abc import ABCMeta, abstractmethod

import torch
from torch import Tensor, nn

from mmfss.models import VotingHead
from mmfss.structures import SupportBank

from .episodes import samples
from .models import Setup
from .parts import Parts, functions, methods, modules
from .timing import Run

Inputs = dict[str, Tensor]
_MEASURES = ('joint', 'encode', 'segment', 'train', 'evaluate')
_PACKAGE = 'mmfss.models'
_CORRELATING = ('pivot_foreground', 'pooled_correlations', 'encode_blocks', 'unit_length')


class Competitor(metaclass=ABCMeta):
    """A model as a benchmark sees it.

    Args:
        name (str): In tables.
        model (nn.Module): In eval mode.
        setup (Setup): What is measured.

    Attributes:
        measures (tuple[str, ...]): What it can be asked for.
    """

    measures: tuple[str, ...] = _MEASURES

    def __init__(self, name: str, model: nn.Module, setup: Setup):
        self.name, self.model, self.setup = name, model, setup
        self._optimizer = None

    @abstractmethod
    def scores(self, inputs: Inputs) -> dict[str, Tensor]:
        """``final``, ``meta`` and ``base`` at image size, (B, channels, H, W); without gradients."""

    @abstractmethod
    def losses(self, inputs: Inputs) -> Tensor:
        """The sum of the losses, in training mode."""

    @abstractmethod
    def parts(self) -> Parts:
        """What is told apart: name -> the calls that belong to it."""

    def train(self, mode: bool) -> None:
        """Switch to training or evaluation."""
        self.model.train(mode)

    def learned(self) -> list[nn.Parameter]:
        """Parameters that training changes."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def count_parameters(self) -> int:
        """All parameters."""
        return sum(p.numel() for p in self.model.parameters())

    def prepare(self, measure: str, number: int) -> Run:
        """The call to be timed in a round, its inputs made.

        Args:
            measure (str): 'joint', 'encode', 'segment' or 'train'.
            number (int): Of the round.
        """
        inputs = self.setup.episode(number)
        self.train(measure == 'train')
        return getattr(self, f'_{measure}')(inputs)

    def _joint(self, inputs: Inputs) -> Run:
        return lambda: self.scores(inputs)

    def _segment(self, inputs: Inputs) -> Run:
        """Without a bank everything is computed again."""
        return self._joint(inputs)

    def _train(self, inputs: Inputs) -> Run:
        if self._optimizer is None:  # a learning rate of 0: the step's work without another model
            self._optimizer = torch.optim.SGD(self.learned(), lr=0.0, momentum=0.9, weight_decay=1e-4)

        def step() -> None:
            self._optimizer.zero_grad()
            self.losses(inputs).backward()
            self._optimizer.step()

        return step


class Own(Competitor):
    """mmfss in one precision."""

    def __init__(self, name: str, model: nn.Module, setup: Setup, precision: str = 'float32'):
        super().__init__(name, model, setup)
        self.precision = precision
        if precision != 'float32':
            self.measures = tuple(measure for measure in _MEASURES if measure != 'train')
        self.bank: SupportBank | None = None

    @torch.no_grad()
    def scores(self, inputs: Inputs) -> dict[str, Tensor]:
        """See :meth:`Competitor.scores`."""
        return self.model(inputs, mode='tensor')

    @torch.no_grad()
    def register(self, inputs: Inputs) -> SupportBank:
        """The finished bank of the supports."""
        return self.model.finish(self.model.encode_support(inputs['support'], inputs['support_mask']))

    def losses(self, inputs: Inputs) -> Tensor:
        """See :meth:`Competitor.losses`."""
        setup, head = self.setup, getattr(self.model, 'base_head', None)
        classes = head.num_classes - 1 if head is not None else 1
        annotated = samples(setup.batch_size, setup.size, setup.share, classes, inputs['query'].device)
        return self.model.parse_losses(self.model(inputs, annotated, mode='loss'))[0]

    def parts(self) -> Parts:
        """By what the segmentor and the head offer, whatever they call themselves."""
        model, head = self.model, self.model.decode_head
        found = {
            'backbone': methods(model, 'extract_feat', 'support_features'),
            'reduction': modules(head, 'reduce_query', 'reduce_support'),
            'similarity': functions(_PACKAGE, 'encode_block', 'similarity_map'),
            'prior': functions(_PACKAGE, 'prior_mask', 'encode_prior'),
            'attention': modules(head, 'attention'),
            'correlation': functions(_PACKAGE, *_CORRELATING) if isinstance(head, VotingHead) else [],
            'learner': methods(head, 'squeeze', 'decode') + modules(head, 'aggregate'),
            'adjustment': methods(head, 'scene', 'shot_weights') + functions(_PACKAGE, 'scene_difference'),
            'decoder': functions(_PACKAGE, 'conv_of_parts') + modules(head, 'decoder'),
            'base head': functions(_PACKAGE, 'psp_logits'),
        }
        return {part: targets for part, targets in found.items() if targets}

    def _encode(self, inputs: Inputs) -> Run:
        return lambda: self.register(inputs)

    def _segment(self, inputs: Inputs) -> Run:
        if self.bank is None:
            self.bank = self.register(self.setup.episode(0, batch_size=1))

        @torch.no_grad()
        def segment() -> Tensor:
            scores = self.model.segment_images(inputs['query'], [self.bank], inputs['query_padding'])[0]
            return nn.functional.interpolate(
                scores['final'], inputs['query'].shape[-2:], mode='bilinear', align_corners=True
            )

        return segment


class Peer(Competitor):
    """What mmfss is compared with: it keeps no bank and evaluates one episode at a time."""

    measures = ('joint', 'segment', 'train', 'evaluate')
