# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Frozen features of images that come again: an evaluation of a thousand episodes sees a few hundred images."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..backbones import BackboneFeatures


def _tensors(features: BackboneFeatures) -> list[Tensor]:
    return [*features.stages, *(block for group in features.blocks for block in group)]


def _slice(features: BackboneFeatures, i: int) -> BackboneFeatures:
    """Features of image i alone, each (1, C, h, w); copies, since a view would keep the whole batch alive."""
    return BackboneFeatures(
        tuple(s[i : i + 1].clone() for s in features.stages),
        tuple(tuple(b[i : i + 1].clone() for b in group) for group in features.blocks),
        features.mask_sizes,
    )


def _join(parts: list[BackboneFeatures]) -> BackboneFeatures:
    """Features of single images as a batch."""
    stages = tuple(torch.cat(maps) for maps in zip(*(p.stages for p in parts), strict=True))
    blocks = tuple(
        tuple(torch.cat(maps) for maps in zip(*groups, strict=True))
        for groups in zip(*(p.blocks for p in parts), strict=True)
    )
    return BackboneFeatures(stages, blocks, parts[0].mask_sizes)


class FeatureCache:
    """Least-recently-used cache of backbone features, keyed by the content of the input image.

    The key is a digest of the normalised tensor, so it holds whatever pipeline made the image, and the precision it was
    computed in; a change of the backbone's weights empties the cache.

    Args:
        backbone (nn.Module): the frozen backbone, in eval mode.
        gigabytes (float): features kept at most, on the device where they were computed.
    """

    def __init__(self, backbone: nn.Module, gigabytes: float):
        self.backbone = backbone
        self.capacity = gigabytes * 2**30
        self._entries: OrderedDict[bytes, BackboneFeatures] = OrderedDict()
        self._weights = None
        self._size = 0

    def __call__(self, images: Tensor, extract: Callable[[Tensor], BackboneFeatures]) -> BackboneFeatures:
        """Features of images (N, 3, H, W), computing with ``extract`` those that are new."""
        self._drop_if_weights_changed()
        keys = [self._digest(image) for image in images]
        new = {key: i for i, key in enumerate(keys) if key not in self._entries}
        fresh = {}
        if new:
            computed = extract(images[list(new.values())])
            fresh = {key: _slice(computed, i) for i, key in enumerate(new)}
        parts = []
        for key in keys:
            if key in self._entries:
                self._entries.move_to_end(key)
            parts.append(fresh[key] if key in fresh else self._entries[key])
        for key, features in fresh.items():
            self._keep(key, features)
        return _join(parts)

    @staticmethod
    def _digest(image: Tensor) -> bytes:
        device = image.device.type
        precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else image.dtype
        data = image.detach().float().contiguous().cpu()
        digest = hashlib.blake2b(data.numpy(), digest_size=16)
        digest.update(f'{tuple(data.shape)} {precision}'.encode())
        return digest.digest()

    def _keep(self, key: bytes, features: BackboneFeatures) -> None:
        self._entries[key] = features
        self._size += self._bytes(features)
        while self._size > self.capacity and self._entries:
            self._size -= self._bytes(self._entries.popitem(last=False)[1])

    @staticmethod
    def _bytes(features: BackboneFeatures) -> int:
        return sum(t.numel() * t.element_size() for t in _tensors(features))

    def _drop_if_weights_changed(self) -> None:
        # Every in-place write, loading a checkpoint included, raises a tensor's version.
        weights = [(t.data_ptr(), t._version) for t in (*self.backbone.parameters(), *self.backbone.buffers())]
        if weights != self._weights:
            self._weights, self._size = weights, 0
            self._entries.clear()
