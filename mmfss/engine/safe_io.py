# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Writing files so that a full disk or a kill never costs what is already there."""

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import torch
from mmengine.fileio import LocalBackend, register_backend

RESUME = 'Free some space, then go on with --resume'


def atomic_write(data: bytes, path: str | Path, cure: str = RESUME) -> None:
    """Write ``data`` to ``path``: afterwards the file is either the old one or the whole new one.

    The bytes go to a hidden file in the same folder first, reach the disk, and are then renamed.

    Args:
        data (bytes): The file's whole content.
        path (str | Path): Where to write; missing folders are made.
        cure (str): Last sentence of the error: what the user can do.

    Raises:
        OSError: When the bytes cannot be written (disk full, quota, rights). The message names the
            path and the bytes free; an earlier file at ``path`` is untouched.
    """
    with atomic_open(path, cure) as stream:
        stream.write(data)


@contextmanager
def atomic_open(path: str | Path, cure: str = RESUME) -> Iterator[BinaryIO]:
    """A stream to write ``path`` with, piece by piece, with the guarantees of :func:`atomic_write`.

    Args:
        path (str | Path): Where to write; missing folders are made.
        cure (str): Last sentence of the error: what the user can do.

    Raises:
        OSError: See :func:`atomic_write`.
    """
    path = Path(path)
    half = path.with_name(f'.{path.name}.half')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(half, 'wb') as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(half, path)
    except OSError as error:
        message = explain_write_error(error, path, cure)
        with suppress(OSError):
            half.unlink(missing_ok=True)
        raise OSError(error.errno, message, str(path)) from error
    except BaseException:
        half.unlink(missing_ok=True)
        raise


def explain_write_error(error: OSError, path: Path, cure: str = RESUME) -> str:
    """What went wrong, how much space there is, and what to do about it."""
    folder = next((p for p in path.parents if p.is_dir()), Path('.'))
    free = shutil.disk_usage(folder).free
    kept = 'The file that was there before is untouched.' if path.exists() else 'Nothing was left.'
    return f'could not write it ({error.strerror}; {free / 2**20:.1f} MiB free in {folder}). {kept} {cure}'


def atomic_torch_save(value: object, path: str | Path, cure: str = RESUME) -> None:
    """``torch.save`` with the guarantees of :func:`atomic_write`.

    Args:
        value (object): What to save.
        path (str | Path): The file.

    Raises:
        OSError: See :func:`atomic_write`.
    """
    buffer = io.BytesIO()
    torch.save(value, buffer)
    atomic_write(buffer.getvalue(), path, cure)


@register_backend('mmfss.atomic', force=True)
class AtomicLocalBackend(LocalBackend):
    """MMEngine's local file backend whose ``put`` is atomic.

    MMEngine opens the target for writing, which truncates it first: a disk that fills up then has
    destroyed the older file too. ``backend_args=dict(backend='mmfss.atomic')`` chooses this one.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes atomically, see :func:`atomic_write`."""
        atomic_write(obj, filepath)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text atomically, see :func:`atomic_write`."""
        atomic_write(obj.encode(encoding), filepath)
