# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""BackboneFeatures: what a backbone gives to the heads, a value like the SupportBank."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

Size = tuple[int, int]
# Gets stage and block feature as soon as it is computed and the sizes of earlier stages; returns what is kept of it.
BlockVisitor = Callable[[str, Tensor, Mapping[str, Size]], object]

STAGES = ('layer2', 'layer3', 'layer4')
# The last stage computed on layer3 times the foreground: BAM, PFENet and their followers mask a support that early.
MASKED_LAST_STAGE = 'masked_layer4'


@dataclass(frozen=True)
class BackboneFeatures:
    """Features of N images.

    A subclass may add fields: every tensor in them, also inside dicts and tuples, has N in front and follows
    :meth:`pick`, :meth:`join`, :meth:`float` and :attr:`nbytes` by itself.

    Attributes:
        stages (dict[str, Tensor]): Name -> map (N, C, h, w), in the order of computation: 'layer2', 'layer3', 'layer4'
            as a rule, 'layer1' and 'masked_layer4' where a head asks for them. Channels and sizes may differ.
        blocks (dict[str, tuple[Tensor]]): For 'layer2', 'layer3', 'layer4', and for 'layer1' where a head asks for that
            stage, the maps (N, C, h, w) of their blocks, in the order of computation: what MSANet and HSNet correlate.
            Empty where no head asks for them; in place of a map stands what a :data:`BlockVisitor` made of it, where
            there is one.
        neck (Tensor, optional): Output of the segmentor's neck, (N, C, h, w).
        extras (dict[str, Tensor]): Whatever else a backbone gives, each (N, ...).
        sizes (dict[str, tuple[int, int]]): (h, w) of every stage that was computed, kept in ``stages`` or not.
        padding (Tensor, optional): bool (N, 1, H, W) at image size, True where a query holds no photograph.
        image_size (tuple[int, int], optional): (H, W) of the images.
        episode_seed (Tensor, optional): int64 (N,), what a head that draws seeds its generator with.
    """

    stages: dict[str, Tensor]
    blocks: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)
    neck: Tensor | None = None
    extras: dict[str, Tensor] = field(default_factory=dict)
    sizes: dict[str, Size] = field(default_factory=dict)
    padding: Tensor | None = None
    image_size: Size | None = None
    episode_seed: Tensor | None = None

    def __getitem__(self, name: str) -> Tensor:
        """The stage of a name.

        Raises:
            KeyError: When nobody asked for it; the message says which stages there are.
        """
        try:
            return self.stages[name]
        except KeyError:
            raise KeyError(
                f"these features have no stage '{name}', only {sorted(self.stages)}: a head names what it needs in "
                '`query_stages` and `support_stages`'
            ) from None

    @property
    def batch_size(self) -> int:
        """N, the number of images."""
        return self._first.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the features are."""
        return self._first.device

    def keep(self, stages: Sequence[str] = (), extras: Mapping[str, Tensor] | None = None) -> 'BackboneFeatures':
        """Some stages and further maps alone, without blocks and neck.

        Args:
            stages (Sequence[str]): To keep.
            extras (Mapping[str, Tensor], optional): What takes the place of the rest, each (N, ...).

        Raises:
            KeyError: When a stage is not there.
        """
        kept = {name: self[name] for name in stages}
        return replace(self, stages=kept, blocks={}, neck=None, extras=dict(extras or {}))

    @property
    def nbytes(self) -> int:
        """Memory that all tensors take, in bytes."""
        return sum(t.numel() * t.element_size() for f in fields(self) for t in _tensors(getattr(self, f.name)))

    def to(self, *args, **kwargs) -> 'BackboneFeatures':
        """As Tensor.to, for every tensor; a dtype applies to floating-point tensors only, as with nn.Module.to."""
        return self.map(lambda t: tensor_to(t, *args, **kwargs))

    def float(self) -> 'BackboneFeatures':
        """As Tensor.float, for every floating-point tensor."""
        return self.to(torch.float32)

    def pick(self, i: int) -> 'BackboneFeatures':
        """Features of image i alone (N = 1), as copies: a view would keep the whole batch alive."""
        return self.map(lambda t: t[i : i + 1].clone())

    @classmethod
    def join(cls, parts: Sequence['BackboneFeatures']) -> 'BackboneFeatures':
        """Features of several batches as one batch, in the order given.

        Raises:
            ValueError: When the parts hold different stages or their maps differ in size.
        """
        first = parts[0]
        try:
            joined = {f.name: _join([getattr(part, f.name) for part in parts]) for f in fields(first)}
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f'features of different stages or sizes cannot be joined ({error})') from error
        return replace(first, **joined)

    def map(self, function: Callable[[Tensor], Tensor]) -> 'BackboneFeatures':
        """The same with every tensor replaced by ``function`` of it."""
        return replace(self, **{f.name: _map(getattr(self, f.name), function) for f in fields(self)})

    @property
    def _first(self) -> Tensor:
        return next(t for f in fields(self) for t in _tensors(getattr(self, f.name)))


def tensor_to(tensor: Tensor, *args, **kwargs) -> Tensor:
    """As Tensor.to; a dtype applies to a floating-point tensor only."""
    moved = tensor.to(*args, **kwargs)
    return moved if tensor.is_floating_point() else moved.to(tensor.dtype)


def _tensors(value) -> list[Tensor]:
    """All tensors in nested dicts, lists and tuples."""
    if isinstance(value, Tensor):
        return [value]
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return [t for item in inner for t in _tensors(item)]


def _map(value, function: Callable[[Tensor], Tensor]):
    """The same nesting with every tensor replaced."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: _map(item, function) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_map(item, function) for item in value)
    return value


def _join(values: list):
    """The same nesting with tensors concatenated; anything else must be equal."""
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(values)
    if isinstance(first, Mapping):
        if any(value.keys() != first.keys() for value in values):
            raise KeyError([sorted(value) for value in values])
        return {key: _join([value[key] for value in values]) for key in first}
    if isinstance(first, (list, tuple)):
        return type(first)(_join(list(items)) for items in zip(*values, strict=True))
    if any(value != first for value in values):
        raise ValueError(values)
    return first
