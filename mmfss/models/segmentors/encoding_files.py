# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Encoded images on disk, for a second run of the same weights and for other processes."""

import hashlib
import logging
import os
from contextlib import suppress
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import nn

from mmfss.structures import BackboneFeatures, EncodedQuery, SupportBank
from mmfss.utils.files import atomic_open
from mmfss.utils.weights import add_weights
from mmfss.version import __version__

SUFFIX = '.pt'


def content_key(model: nn.Module, settings: object) -> str:
    """Tells models apart: 32 hexadecimal digits of every weight, of settings and of mmfss's version.

    Args:
        model (nn.Module): Its parameters and buffers count.
        settings (object): What else the values depend on; enters by its ``repr``.
    """
    key = hashlib.blake2b(f'{__version__} {settings!r}'.encode(), digest_size=16)
    add_weights(key, model)
    return key.hexdigest()


class EncodingFiles:
    """A folder of values, one folder a set of weights; several processes may use it at once.

    A file appears when it is whole (written aside, then renamed) and is mapped into memory, not copied. What cannot be
    read is removed and counts as missing. A full disk ends the writing, not the evaluation.

    Args:
        folder (str | Path): Made when missing. Everything in it that ends in '.pt' belongs to the store.
        gigabytes (float): All files together at most; those used longest ago go first, of whatever weights.
        settings (object): See :func:`content_key`.
    """

    def __init__(self, folder: str | Path, gigabytes: float, settings: object = None):
        if not gigabytes > 0:
            raise ValueError(f'feature_cache_dir_gb={gigabytes!r}: give gigabytes')
        self.root, self.capacity, self.settings = Path(folder), gigabytes * 2**30, settings
        self._folder: Path | None = None
        self._writing = True

    def choose(self, model: nn.Module) -> None:
        """Use the folder of a model's present weights."""
        self._folder = self.root / content_key(model, self.settings)

    def read(self, key: bytes) -> SupportBank | EncodedQuery | None:
        """A value, or None when there is none that can be read."""
        path = self._path(key)
        try:
            with torch.serialization.safe_globals(_classes()):
                value = torch.load(path, map_location='cpu', mmap=True, weights_only=True)
            os.utime(path)
        except FileNotFoundError:
            return None
        except Exception:  # torch, pickle and zip each have their own for what is cut off or damaged
            with suppress(OSError):
                path.unlink()
            return None
        return value

    def write(self, key: bytes, value: SupportBank | EncodedQuery) -> None:
        """Keep a value; says once when that is not possible."""
        if not self._writing:
            return
        try:
            self._make_room(value.nbytes)
            # No waiting for the disk: what a power cut damages is computed again.
            with atomic_open(self._path(key), sync=False) as stream:
                torch.save(value.map(lambda t: t.cpu()), stream)
        except (OSError, RuntimeError) as error:  # torch reports some of a full disk's errors as the latter
            self._writing = False
            message = f'feature_cache_dir={self.root}: no more is kept there ({error}).'
            print_log(message, logger='current', level=logging.WARNING)

    def _path(self, key: bytes) -> Path:
        return self._folder / f'{key.hex()}{SUFFIX}'

    def _make_room(self, nbytes: int) -> None:
        """Remove the files used longest ago until so many bytes more fit."""
        found = []
        for path in self.root.glob(f'*/*{SUFFIX}'):
            with suppress(OSError):  # another process removed it
                state = path.stat()
                found.append((state.st_mtime, state.st_size, path))
        total = nbytes + sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.capacity:
                break
            with suppress(OSError):
                path.unlink()
            total -= size


def _classes() -> list[type]:
    """What a file may hold beside tensors, numbers and strings; backbones may have features of their own kind."""
    found = [SupportBank, EncodedQuery, BackboneFeatures]
    for kind in found:
        found += kind.__subclasses__()
    return found
