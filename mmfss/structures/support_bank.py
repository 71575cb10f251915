# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""SupportBank: everything that a support set contributes to a segmentation, computed once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor


def _pad_last(x: Tensor, length: int) -> Tensor:
    """Zeros appended to the last dimension until it has ``length`` entries."""
    return x if x.shape[-1] == length else F.pad(x, (0, length - x.shape[-1]))


@dataclass(frozen=True)
class SupportBank:
    """A value, not state on a module: keep it, move it, save it, extend it by a shot.

    Every tensor starts with (B, K, ...): B episodes, K shots. Vectors that were kept from a support feature map stand
    in the last dimension, padded with zeros to the longest; the head stores a weight or validity tensor of the same
    length beside them, so padding never changes a result.

    Attributes:
        tensors (dict[str, Tensor]): name -> (B, K, ...). The parts of several heads are told apart by a prefix
            ``'<head>.'`` (:meth:`merge`, :meth:`part`).
        fingerprint (str): identifies the weights that made the bank; '' when not recorded.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    fingerprint: str = ''

    def __post_init__(self):
        shapes = {name: tuple(t.shape[:2]) for name, t in self.tensors.items()}
        # Compared one by one: sizes have no hash while torch.export records.
        if any(shape != next(iter(shapes.values())) for shape in shapes.values()):
            raise ValueError(f'every tensor of a SupportBank starts with the same (B, K), got {shapes}')

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self.tensors[name]
        except KeyError:
            raise KeyError(
                f"this SupportBank has no '{name}'; it holds {sorted(self.tensors)}. It was made by "
                'another head: encode the supports again with this model'
            ) from None

    @property
    def batch_size(self) -> int:
        """B, the number of episodes."""
        return next(iter(self.tensors.values())).shape[0] if self.tensors else 0

    @property
    def num_shots(self) -> int:
        """K, the number of supports an episode."""
        return next(iter(self.tensors.values())).shape[1] if self.tensors else 0

    @property
    def nbytes(self) -> int:
        """Memory that the tensors take, in bytes."""
        return sum(t.numel() * t.element_size() for t in self.tensors.values())

    def part(self, head: str) -> 'SupportBank':
        """The tensors of one head, without its prefix."""
        prefix = head + '.'
        return replace(self, tensors={k[len(prefix) :]: t for k, t in self.tensors.items() if k.startswith(prefix)})

    @classmethod
    def merge(cls, parts: Mapping[str, Mapping[str, Tensor]], fingerprint: str = '') -> 'SupportBank':
        """One bank of several heads' tensors: {head: {name: (B, K, ...)}}."""
        return cls({f'{head}.{name}': t for head, part in parts.items() for name, t in part.items()}, fingerprint)

    def to(self, *args, **kwargs) -> 'SupportBank':
        """As Tensor.to, for every tensor; a dtype applies to floating-point tensors only, as with nn.Module.to."""

        def move(t: Tensor) -> Tensor:
            return t.to(*args, **kwargs) if t.is_floating_point() else t.to(*args, **kwargs).to(t.dtype)

        return replace(self, tensors={k: move(t) for k, t in self.tensors.items()})

    def detach(self) -> 'SupportBank':
        """Without gradients."""
        return replace(self, tensors={k: t.detach() for k, t in self.tensors.items()})

    def expand(self, batch_size: int) -> 'SupportBank':
        """One episode's bank for a batch of queries (a view: no memory is copied).

        Raises:
            ValueError: when the bank holds neither 1 nor ``batch_size`` episodes.
        """
        if self.batch_size == batch_size:
            return self
        if self.batch_size != 1:
            raise ValueError(f'a bank of {self.batch_size} episodes cannot serve a batch of {batch_size} queries')
        return replace(self, tensors={k: t.expand(batch_size, *t.shape[1:]) for k, t in self.tensors.items()})

    @classmethod
    def stack_shots(cls, banks: Iterable['SupportBank']) -> 'SupportBank':
        """Banks of the same episodes joined along K, in the order given.

        Raises:
            ValueError: when the banks were made by different models, for different numbers of episodes, or of supports
                whose feature maps differ in size.
        """
        banks = list(banks)
        if not banks:
            raise ValueError('no banks to join')
        first = banks[0]
        for bank in banks[1:]:
            if bank.fingerprint != first.fingerprint or bank.tensors.keys() != first.tensors.keys():
                raise ValueError('only banks made by the same model can be joined')
            if bank.batch_size != first.batch_size:
                raise ValueError(f'banks of {first.batch_size} and {bank.batch_size} episodes cannot be joined')
        tensors = {}
        for name in first.tensors:
            shots = [bank.tensors[name] for bank in banks]
            if shots[0].dim() > 4 and len({t.shape[2:] for t in shots}) > 1:  # (B, K, C, h, w) maps are never padded
                raise ValueError(
                    f"banks cannot be joined: their '{name}' has the sizes "
                    f'{[tuple(t.shape[-2:]) for t in shots]}. Bring all supports to one size'
                )
            length = max(t.shape[-1] for t in shots)
            tensors[name] = torch.cat([_pad_last(t, length) if t.dim() > 2 else t for t in shots], dim=1)
        return replace(first, tensors=tensors)

    def extend(self, other: 'SupportBank') -> 'SupportBank':
        """This bank with the shots of another behind its own."""
        return self.stack_shots([self, other])

    def save(self, path: str) -> None:
        """Write to a file that :meth:`load` reads."""
        torch.save(
            dict(tensors={k: t.contiguous().cpu() for k, t in self.tensors.items()}, fingerprint=self.fingerprint), path
        )

    @classmethod
    def load(cls, path: str, map_location: str | torch.device | None = 'cpu') -> 'SupportBank':
        """Read a bank from a file; only tensors and strings are unpickled."""
        return cls(**torch.load(path, map_location=map_location, weights_only=True))
