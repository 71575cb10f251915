# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What an evaluation keeps of images that come again: a thousand episodes see a few hundred of them."""

import copy
import hashlib
import os
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Protocol

import torch
from mmengine.dist import get_world_size
from torch import Tensor, nn

from mmfss.utils.free_memory import free_memory

from .encoding_files import EncodingFiles

# Of a full store, by role. A query is large and, in the order of RevisitSampler, soon done with; comparisons are small.
SHARES = dict(support=0.75, query=0.2, comparison=0.05)
AUTO_SHARE = 0.5  # of the memory that is free, for all processes of a machine together
# Tensors up to so many elements stay exact whatever `dtype` says: they are no part of the memory worth speaking of.
EXACT_UP_TO = 2**18
DTYPES = dict(float32=None, bfloat16=torch.bfloat16, float16=torch.float16)


class Value(Protocol):
    """What can be kept: a SupportBank, an EncodedQuery."""

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""

    def map(self, function: Callable[[Tensor], Tensor]) -> 'Value':
        """The same with every tensor replaced."""


def digest(request: object, *tensors: Tensor) -> bytes:
    """A key from the content of tensors.

    Args:
        request (object): What is computed of them; enters by its ``repr``.
        *tensors (Tensor): Shape, type and the precision that autocast asks for count too.
    """
    key = hashlib.blake2b(repr(request).encode(), digest_size=16)
    for tensor in tensors:
        kind = tensor.device.type
        precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tensor.dtype
        key.update(f'{tuple(tensor.shape)} {tensor.dtype} {precision}'.encode())
        key.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return key.digest()


def capacity_in_bytes(gigabytes: float | str, device: torch.device) -> float:
    """A bound in bytes; 'auto' is half of what is free on a device, shared by the processes of this machine.

    Args:
        gigabytes (float | str): A number, or 'auto'.
        device (torch.device): Where the values are.
    """
    if gigabytes != 'auto':
        return gigabytes * 2**30
    # torchrun says how many processes a machine has; elsewhere all of them may be on this one.
    processes = 1 if device.type == 'cuda' else int(os.environ.get('LOCAL_WORLD_SIZE', get_world_size()))
    return free_memory(device) * AUTO_SHARE / processes


class EncodingStore:
    """Bounded store of encoded images, keyed by content.

    Whatever pipeline made an image, equal input gives equal values. Any change of the model's weights empties it. When
    it is full, the role that exceeds its share most (:data:`SHARES`) loses what it used longest ago.

    Args:
        gigabytes (float | str): Kept at most, on the device where it was computed. 'auto': half of the memory that is
            free there at the first value, divided among the processes of the machine.
        dtype (str): 'float32' keeps values as they are; 'bfloat16' and 'float16' round large tensors of supports and
            queries, which takes half the memory.
        files (EncodingFiles, optional): Where values are kept beyond this process, but for comparisons.

    Attributes:
        hits, misses (Counter): Role -> values found in memory or in files, and values computed.
        sizes (Counter): Role -> bytes kept in memory.

    Raises:
        ValueError: When the bound or the type is none.
    """

    def __init__(self, gigabytes: float | str = 'auto', dtype: str = 'float32', files: EncodingFiles | None = None):
        number = isinstance(gigabytes, int | float) and not isinstance(gigabytes, bool)
        if gigabytes != 'auto' and not (number and gigabytes > 0):
            raise ValueError(f"feature_cache_gb={gigabytes!r}: give gigabytes, 'auto', or 0 for none")
        if dtype not in DTYPES:
            raise ValueError(f'feature_cache_dtype={dtype!r}: choose from {tuple(DTYPES)}')
        self.gigabytes, self.dtype, self.files = gigabytes, DTYPES[dtype], files
        self.capacity: float | None = None
        self._device = torch.device('cpu')
        self.hits, self.misses = Counter(), Counter()
        self.clear()

    def __deepcopy__(self, memo: dict) -> 'EncodingStore':
        """An empty store: a copied model has weights of its own."""
        copied = copy.copy(self)
        copied.hits, copied.misses, copied.files = Counter(), Counter(), copy.copy(self.files)
        copied.clear()
        return copied

    def __len__(self) -> int:
        return sum(map(len, self._entries.values()))

    def follow(self, model: nn.Module) -> None:
        """Empty the store when a weight of the model was written since the last call; called before values are."""
        # Every in-place write, loading a checkpoint included, raises a tensor's version.
        tensors = (*model.parameters(), *model.buffers())
        self._device = tensors[0].device
        weights = [(t.data_ptr(), t._version) for t in tensors]
        if weights != self._weights:
            self.clear()
            self._weights = weights
            if self.files is not None:
                self.files.choose(model)

    def clear(self) -> None:
        """Drop what is in memory."""
        self._entries = {role: OrderedDict() for role in SHARES}
        self.sizes = Counter()
        self._weights, self._remembered = None, (None, None)

    def get(self, role: str, key: bytes, compute: Callable[[], Value]) -> Value:
        """A value, computed unless it is kept; see :meth:`exact`.

        Args:
            role (str): 'support', 'query' or 'comparison'.
            key (bytes): See :func:`digest`.
            compute (Callable): Makes the value.
        """
        entries = self._entries[role]
        if key in entries:
            entries.move_to_end(key)
            self.hits[role] += 1
            return entries[key]
        files = None if role == 'comparison' else self.files
        value = None if files is None else files.read(key)
        if value is not None:
            self.hits[role] += 1
            value = value.map(lambda t: t.to(self._device))
        else:
            self.misses[role] += 1
            value = compute()
            value = value.map(self._owned if role == 'comparison' else self._rounded)
            if files is not None:
                files.write(key, value)
        self._keep(role, key, value)
        return value

    def exact(self, value: Value, remember: bool = False) -> Value:
        """A value of :meth:`get` with rounded tensors as float32 again.

        Args:
            value (Value): Of :meth:`get`, or a part of one.
            remember (bool): Keep the result until it is another value's turn, beside the bound: episodes of one query
                stand together. Defaults to False.
        """
        if self.dtype is None:
            return value
        if self._remembered[0] is value:
            return self._remembered[1]
        found = value.map(lambda t: t.float() if t.dtype is self.dtype else t)
        if remember:
            self._remembered = value, found
        return found

    def summary(self) -> str:
        """One line: what was computed, what came again, the memory taken and its bound."""
        parts = [f'{self.misses[role]} {role} computed, {self.hits[role]} found again' for role in SHARES]
        bound = '' if self.capacity is None else f' of {self.capacity / 2**30:.1f} GiB'
        return f'Encoded images: {"; ".join(parts)}; {self.sizes.total() / 2**30:.1f}{bound}.'

    def _keep(self, role: str, key: bytes, value: Value) -> None:
        if self.capacity is None:
            self.capacity = capacity_in_bytes(self.gigabytes, value.device)
        if value.nbytes > self.capacity:
            return  # it would push out everything else and still not fit
        self._entries[role][key] = value
        self.sizes[role] += value.nbytes
        while self.sizes.total() > self.capacity:
            # The newest of each role stays as long as possible: the next episode most likely asks for it.
            roles = [r for r, entries in self._entries.items() if len(entries) > 1]
            roles = roles or [r for r, entries in self._entries.items() if entries and r != role]
            fullest = max(roles, key=lambda r: self.sizes[r] / SHARES[r])
            self.sizes[fullest] -= self._entries[fullest].popitem(last=False)[1].nbytes

    def _rounded(self, tensor: Tensor) -> Tensor:
        if self.dtype is not None and tensor.dtype is torch.float32 and tensor.numel() > EXACT_UP_TO:
            return tensor.to(self.dtype)
        return self._owned(tensor)

    @staticmethod
    def _owned(tensor: Tensor) -> Tensor:
        # A view would keep alive what it is a view of.
        whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        return tensor.detach() if whole else tensor.detach().clone()
