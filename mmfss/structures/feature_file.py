# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""FeatureFile: maps of many images on disk, a row an image, read through a memory map."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmfss.utils.files import atomic_write_json, explain_write_error

PENDING, DONE, UNUSABLE = 0, 1, 2  # marks of rows
_ALIGN = 64  # bytes: every map may be viewed as numbers of any size


@dataclass(frozen=True)
class Field:
    """One map of a row.

    Attributes:
        shape (Sequence[int]): Without the images, such as (C, h, w).
        kept (str): Number format on disk, such as 'bfloat16'.
        given (str): Number format that :meth:`FeatureFile.read` gives.
        offset (int): Bytes before it in its row.
    """

    shape: Sequence[int]
    kept: str
    given: str
    offset: int

    @property
    def nbytes(self) -> int:
        """Its bytes in a row."""
        return torch.Size(self.shape).numel() * getattr(torch, self.kept).itemsize


def lay_out(maps: Mapping[str, Tensor], kept: Mapping[str, str]) -> dict[str, Field]:
    """Fields for maps like these, one behind the other.

    Args:
        maps (Mapping[str, Tensor]): Name -> (N, ...).
        kept (Mapping[str, str]): Name -> number format on disk; others keep their own.
    """
    fields, offset = {}, 0
    for name, tensor in maps.items():
        given = str(tensor.dtype).removeprefix('torch.')
        field = Field(tuple(tensor.shape[1:]), kept.get(name, given), given, offset)
        fields[name] = field
        offset += -(-field.nbytes // _ALIGN) * _ALIGN
    return fields


class FeatureFile:
    """Rows of maps in a folder: ``features.bin``, ``marks.bin`` (which rows are there) and ``layout.json``.

    Maps (C, h, w) lie as (h, w, C), the layout in which convolutions run fastest. Any number of processes may read, and
    each may write rows of its own. A row is marked when its bytes have reached the disk, so neither a kill nor a power
    cut leaves half a row that counts.

    Args:
        folder (str | Path): An existing one, see :meth:`create`.

    Raises:
        ValueError: When its files do not fit each other.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        layout = json.loads((self.folder / 'layout.json').read_text())
        self.rows, self.facts = layout['rows'], layout['facts']
        self.fields = {name: Field(**field) for name, field in layout['fields'].items()}
        self.row_bytes = row_bytes(self.fields)
        sizes = {'features.bin': self.rows * self.row_bytes, 'marks.bin': self.rows}
        for name, size in sizes.items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size != size:
                raise ValueError(f'{path} should have {size} bytes: remove {self.folder} and start again')
        self._data = _mapped(self.folder / 'features.bin', sizes['features.bin']).view(self.rows, self.row_bytes)
        self._marks = _mapped(self.folder / 'marks.bin', self.rows)

    @staticmethod
    def is_there(folder: str | Path) -> bool:
        """Whether :meth:`create` came to its end in a folder."""
        return (Path(folder) / 'layout.json').is_file()

    @classmethod
    def create(cls, folder: str | Path, rows: int, fields: Mapping[str, Field], facts: Mapping) -> 'FeatureFile':
        """Make the files, without any row.

        Args:
            folder (str | Path): Made when it is missing.
            rows (int): Their number.
            fields (Mapping[str, Field]): See :func:`lay_out`.
            facts (Mapping): Plain values to keep beside the maps.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, size in (('features.bin', rows * row_bytes(fields)), ('marks.bin', rows)):
            with open(folder / name, 'wb') as stream:
                stream.truncate(size)
        layout = dict(rows=rows, facts=facts, fields={name: asdict(field) for name, field in fields.items()})
        atomic_write_json(layout, folder / 'layout.json')  # the last one: who finds it finds the others
        return cls(folder)

    @property
    def marks(self) -> Tensor:
        """(rows,) uint8: PENDING, DONE, or UNUSABLE where an image cannot be read."""
        return self._marks

    def write(self, rows: Sequence[int], maps: Mapping[str, Tensor]) -> None:
        """Write and mark rows.

        Args:
            rows (Sequence[int]): N of them.
            maps (Mapping[str, Tensor]): Name -> (N, ...); fields that are left out stay zero.

        Raises:
            OSError: When the disk is full; the message says what to do.
        """
        block = torch.zeros(len(rows), self.row_bytes, dtype=torch.uint8)
        for name, tensor in maps.items():
            field = self.fields[name]
            value = (
                _rows_last(tensor.detach()).to('cpu', getattr(torch, field.kept)).reshape(len(rows), -1).contiguous()
            )
            block[:, field.offset : field.offset + field.nbytes] = value.view(torch.uint8)
        with self._opened('features.bin') as file:
            for row, content in zip(rows, block.numpy(), strict=True):
                _write_at(file, content, row * self.row_bytes)
            os.fdatasync(file)
        self.mark(rows, DONE)

    def mark(self, rows: Sequence[int], value: int) -> None:
        """Set the mark of rows."""
        with self._opened('marks.bin') as file:
            for row in rows:
                os.pwrite(file, bytes([value]), row)

    @contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        path = self.folder / name
        try:
            with open(path, 'rb+', buffering=0) as stream:
                yield stream.fileno()
        except OSError as error:
            cure = 'Free some space and start again: what is stored already is kept.'
            raise OSError(error.errno, explain_write_error(error, path, cure), str(path)) from error

    def read(self, rows: Sequence[int], names: Sequence[str]) -> dict[str, Tensor]:
        """Maps of rows, copied out of the memory map.

        Args:
            rows (Sequence[int]): N of them.
            names (Sequence[str]): Fields to read.

        Returns:
            dict[str, Tensor]: Name -> (N, ...).
        """
        return {name: self._read(rows, self.fields[name]) for name in names}

    def _read(self, rows: Sequence[int], field: Field) -> Tensor:
        kept, given = getattr(torch, field.kept), getattr(torch, field.given)
        shape = [*field.shape[1:], field.shape[0]] if len(field.shape) == 3 else field.shape
        out = torch.empty(len(rows), *shape, dtype=given)
        for place, row in enumerate(rows):
            out[place] = self._data[row, field.offset : field.offset + field.nbytes].view(kept).view(tuple(shape))
        return out.permute(0, 3, 1, 2) if len(field.shape) == 3 else out


def row_bytes(fields: Mapping[str, Field]) -> int:
    """Bytes of a row."""
    return max(-(-(field.offset + field.nbytes) // _ALIGN) * _ALIGN for field in fields.values())


def _rows_last(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 2, 3, 1) if tensor.dim() == 4 else tensor


def _mapped(path: Path, size: int) -> Tensor:
    """A file's bytes, shared with whoever writes them; a finished store may be read-only."""
    return torch.from_file(str(path), shared=os.access(path, os.W_OK), size=size, dtype=torch.uint8)


def _write_at(file: int, content, offset: int) -> None:
    content = memoryview(content)
    while len(content):  # the system may write less than asked for
        written = os.pwrite(file, content, offset)
        content, offset = content[written:], offset + written
