# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""SupportBank: everything that a support set contributes to a segmentation, computed once."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.utils.file_kinds import foreign_kind

from .features import tensor_to

OpenDims = dict[str, tuple[int, ...]]
_FIELDS = dict(tensors=dict, fingerprint=str, open_dims=dict, summary=dict, finished=bool)  # of a file


@dataclass(frozen=True)
class SupportBank:
    """A value, not state on a module: keep it, move it, save it, extend it by a shot.

    Every tensor starts with (B, K, ...): B episodes, K shots. Where supports differ in length, such as the vectors kept
    from a support feature map, ``open_dims`` names the dimension; joining pads it with zeros to the longest, and the
    head stores a weight or validity tensor of the same length beside them, so padding never changes a result.

    Attributes:
        tensors (dict[str, Tensor]): Name -> (B, K, ...). The parts of several heads are told apart by a prefix
            ``'<head>.'`` (:meth:`merge`, :meth:`part`).
        fingerprint (str): Identifies the weights that made the bank; '' when not recorded.
        open_dims (dict[str, tuple[int]]): Negative dimensions whose length follows from the supports, see
            :meth:`mmfss.models.BaseMetaHead.open_dims`. One such dimension is padded in joining; two are a map's
            height and width, which must agree.
        summary (dict[str, Tensor]): Name -> (B, ...): what a head made of all shots together
            (:meth:`mmfss.models.BaseMetaHead.finish`). Joining further shots drops it.
        finished (bool): Whether ``summary`` is made, be it empty.
        compared (bool): Whether ``tensors`` hold what heads made of certain queries and the supports, see
            :meth:`mmfss.models.BaseMetaHead.compare`.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    fingerprint: str = ''
    open_dims: OpenDims = field(default_factory=dict)
    summary: dict[str, Tensor] = field(default_factory=dict)
    finished: bool = False
    compared: bool = False

    def __post_init__(self):
        shapes = {name: tuple(t.shape[:2]) for name, t in self.tensors.items()}
        # Compared one by one: sizes have no hash while torch.export records.
        if any(shape != next(iter(shapes.values())) for shape in shapes.values()):
            raise ValueError(f'every tensor of a SupportBank starts with the same (B, K), got {shapes}')

    def __getitem__(self, name: str) -> Tensor:
        if name in self.tensors:
            return self.tensors[name]
        if name in self.summary:
            return self.summary[name]
        raise KeyError(
            f"this SupportBank has no '{name}'; it holds {sorted({**self.tensors, **self.summary})}. It was made by "
            'another head: encode the supports again with this model'
        )

    @property
    def batch_size(self) -> int:
        """B, the number of episodes."""
        return next(iter(self.tensors.values())).shape[0] if self.tensors else 0

    @property
    def num_shots(self) -> int:
        """K, the number of supports an episode."""
        return next(iter(self.tensors.values())).shape[1] if self.tensors else 0

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return next(iter(self.tensors.values())).device

    @property
    def nbytes(self) -> int:
        """Memory that the tensors take, in bytes."""
        return sum(t.numel() * t.element_size() for t in (*self.tensors.values(), *self.summary.values()))

    def with_summary(self, summary: Mapping[str, Tensor]) -> 'SupportBank':
        """This bank, finished: with tensors (B, ...) made of all its shots together."""
        return replace(self, summary=dict(summary), finished=True)

    def with_comparison(self, comparison: 'SupportBank') -> 'SupportBank':
        """This bank for certain queries, with the tensors of :meth:`mmfss.models.FewShotSegmentor.compare`."""
        return replace(self, tensors={**self.tensors, **comparison.tensors}, compared=True)

    def without(self, names: Collection[str]) -> 'SupportBank':
        """This bank without some of its tensors."""
        return replace(self, tensors={name: t for name, t in self.tensors.items() if name not in names})

    def part(self, head: str) -> 'SupportBank':
        """The tensors of one head, without its prefix."""
        prefix = head + '.'

        def own(items: dict) -> dict:
            return {key[len(prefix) :]: value for key, value in items.items() if key.startswith(prefix)}

        return replace(self, tensors=own(self.tensors), open_dims=own(self.open_dims), summary=own(self.summary))

    @classmethod
    def merge(
        cls,
        parts: Mapping[str, Mapping[str, Tensor]],
        fingerprint: str = '',
        open_dims: Mapping[str, OpenDims] | None = None,
    ) -> 'SupportBank':
        """One bank of several heads' tensors: {head: {name: (B, K, ...)}}, and their open dimensions likewise."""
        return cls(_prefixed(parts), fingerprint, _prefixed(open_dims or {}))

    def to(self, *args, **kwargs) -> 'SupportBank':
        """As Tensor.to, for every tensor; a dtype applies to floating-point tensors only, as with nn.Module.to."""
        return self.map(lambda t: tensor_to(t, *args, **kwargs))

    def detach(self) -> 'SupportBank':
        """Without gradients."""
        return self.map(Tensor.detach)

    def expand(self, batch_size: int) -> 'SupportBank':
        """One episode's bank for a batch of queries (a view: no memory is copied).

        Raises:
            ValueError: When the bank holds neither 1 nor ``batch_size`` episodes.
        """
        if self.batch_size == batch_size:
            return self
        if self.batch_size != 1:
            raise ValueError(f'a bank of {self.batch_size} episodes cannot serve a batch of {batch_size} queries')
        return self.map(lambda t: t.expand(batch_size, *t.shape[1:]))

    def unflatten(self, episodes: int, shots: int) -> 'SupportBank':
        """One episode of ``episodes * shots`` supports as that many episodes (a view); episode by episode in order."""
        return self.map(lambda t: t.view(episodes, shots, *t.shape[2:]))

    @classmethod
    def stack_shots(cls, banks: Iterable['SupportBank']) -> 'SupportBank':
        """Banks of the same episodes joined along K, in the order given; the result is not finished.

        Raises:
            ValueError: When the banks were made by different models, for different numbers of episodes, or of supports
                whose tensors differ in a dimension that cannot be padded.
        """
        banks = list(banks)
        if not banks:
            raise ValueError('no banks to join')
        first = banks[0]
        if len(banks) == 1:
            return replace(first, summary={}, finished=False)
        for bank in banks[1:]:
            if bank.fingerprint != first.fingerprint or bank.tensors.keys() != first.tensors.keys():
                raise ValueError('only banks made by the same model can be joined')
            if bank.batch_size != first.batch_size:
                raise ValueError(f'banks of {first.batch_size} and {bank.batch_size} episodes cannot be joined')
        open_dims = {name: dims for bank in banks for name, dims in bank.open_dims.items()}
        tensors = {
            name: _join_shots(name, [bank.tensors[name] for bank in banks], open_dims.get(name, ()))
            for name in first.tensors
        }
        return replace(first, tensors=tensors, open_dims=open_dims, summary={}, finished=False)

    def extend(self, other: 'SupportBank') -> 'SupportBank':
        """This bank with the shots of another behind its own."""
        return self.stack_shots([self, other])

    def state(self) -> dict:
        """The bank as plain containers of CPU tensors, for a file; :meth:`from_state` reads it."""

        def plain(items: dict[str, Tensor]) -> dict[str, Tensor]:
            # As they lie in memory, so that a bank that was read computes the very same; but no more than they hold.
            return {key: t.cpu().clone(memory_format=torch.preserve_format) for key, t in items.items()}

        return dict(
            tensors=plain(self.tensors),
            fingerprint=self.fingerprint,
            open_dims=dict(self.open_dims),
            summary=plain(self.summary),
            finished=self.finished,
        )

    @classmethod
    def from_state(cls, state: Mapping) -> 'SupportBank':
        """A bank from :meth:`state`; what an older file does not hold keeps its default.

        Raises:
            KeyError, TypeError, ValueError: When it is no bank.
        """
        _check_state(state)
        known = ('open_dims', 'summary', 'finished')
        return cls(state['tensors'], state['fingerprint'], **{key: state[key] for key in known if key in state})

    def save(self, path: str) -> None:
        """Write to a file that :meth:`load` reads."""
        torch.save(self.state(), path)

    @classmethod
    def load(cls, path: str, map_location: str | torch.device | None = 'cpu') -> 'SupportBank':
        """Read a bank from a file; only tensors, numbers and strings are unpickled.

        Raises:
            FileNotFoundError: When there is no such file.
            ValueError: When it holds something else.
        """
        try:
            return cls.from_state(torch.load(path, map_location=map_location, weights_only=True))
        except OSError:
            raise
        except Exception as error:  # torch, pickle and zip each have their own
            raise ValueError(f'{path} is no support bank ({foreign_kind(path) or reason_of(error)})') from error

    def map(self, function: Callable[[Tensor], Tensor]) -> 'SupportBank':
        """The same with every tensor replaced by ``function`` of it."""
        return replace(
            self,
            tensors={key: function(t) for key, t in self.tensors.items()},
            summary={key: function(t) for key, t in self.summary.items()},
        )


def reason_of(error: Exception) -> str:
    """What was wrong with the content of a file: our words, of others the kind of error alone."""
    return str(error) if isinstance(error, BankStateError) else type(error).__name__


class BankStateError(ValueError):
    """A file's content that is no bank; the message says what of it."""


def _check_state(state: Mapping) -> None:
    """Refuse what :meth:`SupportBank.state` never wrote, before a head trips over it.

    Raises:
        BankStateError: When a field is of another kind, or a tensor has no (B, K), no values or NaN.
    """
    for key, kind in _FIELDS.items():
        if not isinstance(state.get(key, kind()), kind):
            raise BankStateError(f'its {key} is a {type(state[key]).__name__}')
    for key, least in (('tensors', 2), ('summary', 1)):
        for name, tensor in state.get(key, {}).items():
            if not isinstance(name, str) or not isinstance(tensor, Tensor):
                raise BankStateError(f'its {key} hold {name!r}: {type(tensor).__name__}')
            if tensor.is_meta or tensor.is_quantized or tensor.layout != torch.strided or tensor.ndim < least:
                raise BankStateError(f'{name} is no plain tensor of episodes and shots')
            if 0 in tensor.shape[:least] or (tensor.is_floating_point() and bool(tensor.isnan().any())):
                raise BankStateError(f'{name} holds nothing, or NaN')
    if not state['tensors']:
        raise BankStateError('it holds no tensors')
    for name, dims in state.get('open_dims', {}).items():
        if not isinstance(name, str) or not isinstance(dims, (list, tuple)) or not all(type(d) is int for d in dims):
            raise BankStateError(f'its open_dims hold {name!r}: {dims!r}'[:100])


def _prefixed(parts: Mapping[str, Mapping]) -> dict:
    return {f'{head}.{name}': value for head, part in parts.items() for name, value in part.items()}


def _join_shots(name: str, shots: list[Tensor], open_dims: tuple[int, ...]) -> Tensor:
    """Tensors (B, K_i, ...) joined along K; one open dimension is padded with zeros to the longest.

    Raises:
        ValueError: When they differ otherwise.
    """
    if len(shots) == 1:
        return shots[0]
    if all(t.dim() > 3 and t.stride(-2) == 1 < t.stride(-1) for t in shots):  # vectors that lie as rows stay so
        flipped = tuple({-1: -2, -2: -1}.get(dim, dim) for dim in open_dims)
        return _join_shots(name, [t.transpose(-2, -1) for t in shots], flipped).transpose(-2, -1)
    shapes = [tuple(t.shape[2:]) for t in shots]
    if all(shape == shapes[0] for shape in shapes):
        return torch.cat(shots, dim=1)
    rank = len(shapes[0])
    differing = {d - rank for d in range(rank) if len({len(s) for s in shapes}) > 1 or len({s[d] for s in shapes}) > 1}
    if len(open_dims) != 1 or differing != set(open_dims):
        raise ValueError(
            f"banks cannot be joined: their '{name}' has the sizes {shapes}. Bring all supports to one size"
        )
    (dim,) = open_dims
    longest = max(t.shape[dim] for t in shots)
    # F.pad takes (before, after) of the last dimension first.
    padded = [F.pad(t, (0, 0) * (-dim - 1) + (0, longest - t.shape[dim])) for t in shots]
    return torch.cat(padded, dim=1)
