# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Frozen features of images that come again: an evaluation of a thousand episodes sees a few hundred images."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mmfss.structures import BackboneFeatures


def digests(request: object, *batches: Tensor) -> list[bytes]:
    """A key for each item of a batch, from the content of its tensors.

    Args:
        request (object): What is computed of them, such as the names of stages; enters every key by its ``repr``.
        *batches (Tensor): Each (N, ...); item i of all of them makes key i, along with shape and precision.
    """
    keys = [hashlib.blake2b(repr(request).encode(), digest_size=16) for _ in batches[0]]
    for batch in batches:
        kind = batch.device.type
        precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else batch.dtype
        data = batch.detach().cpu()
        for key, item in zip(keys, data, strict=True):
            key.update(f'{tuple(item.shape)} {precision}'.encode())
            key.update(item.contiguous().view(-1).view(torch.uint8).numpy())
    return [key.digest() for key in keys]


class FeatureCache:
    """Least-recently-used cache of backbone features, keyed by content.

    Whatever pipeline made an image, equal input gives equal features; a change of the backbone's weights empties the
    cache.

    Args:
        backbone (nn.Module): The frozen backbone, in eval mode.
        gigabytes (float): Features kept at most, on the device where they were computed.
    """

    def __init__(self, backbone: nn.Module, gigabytes: float):
        self.backbone = backbone
        self.capacity = gigabytes * 2**30
        self._entries: OrderedDict[bytes, BackboneFeatures] = OrderedDict()
        self._weights = None
        self._size = 0

    def __call__(self, keys: Sequence[bytes], compute: Callable[[list[int]], BackboneFeatures]) -> BackboneFeatures:
        """Features of a batch.

        Args:
            keys (Sequence[bytes]): Of its N items, see :func:`digests`.
            compute (Callable): Gets the indices of items whose features are not kept and computes them.
        """
        self._drop_if_weights_changed()
        new = {key: i for i, key in enumerate(keys) if key not in self._entries}
        fresh = {}
        if new:
            computed = compute(list(new.values()))
            fresh = {key: computed.pick(i) for i, key in enumerate(new)}
        parts = []
        for key in keys:
            if key in self._entries:
                self._entries.move_to_end(key)
            parts.append(fresh[key] if key in fresh else self._entries[key])
        for key, features in fresh.items():
            self._keep(key, features)
        return BackboneFeatures.join(parts)

    def _keep(self, key: bytes, features: BackboneFeatures) -> None:
        self._entries[key] = features
        self._size += features.nbytes
        while self._size > self.capacity and self._entries:
            self._size -= self._entries.popitem(last=False)[1].nbytes

    def _drop_if_weights_changed(self) -> None:
        # Every in-place write, loading a checkpoint included, raises a tensor's version.
        weights = [(t.data_ptr(), t._version) for t in (*self.backbone.parameters(), *self.backbone.buffers())]
        if weights != self._weights:
            self._weights, self._size = weights, 0
            self._entries.clear()
