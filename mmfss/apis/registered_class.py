# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""RegisteredClass: a name and what its supports contribute, as a file or in memory."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from mmfss.structures import SupportBank
from mmfss.utils.file_kinds import foreign_kind
from mmfss.utils.files import atomic_torch_save

CURE = 'Free some space or save it elsewhere'
MAX_CLASSES = 254  # a mask has one byte a pixel, and 255 means ignored


@dataclass(frozen=True, eq=False)
class RegisteredClass:
    """A class that a model can segment: :meth:`FewShotInferencer.register` makes it.

    Attributes:
        name (str): What results call the class.
        bank (SupportBank): Of one episode, K shots; its fingerprint says which model made it.
        key (str): Digest of the support images and masks; '' when they are not known.
    """

    name: str
    bank: SupportBank = field(repr=False)
    key: str = ''

    @property
    def num_shots(self) -> int:
        """K, the number of supports."""
        return self.bank.num_shots

    @property
    def nbytes(self) -> int:
        """Memory that the bank takes, in bytes."""
        return self.bank.nbytes

    def save(self, path: str | Path) -> None:
        """Write a file that :meth:`load` reads, whole or not at all.

        Raises:
            OSError: When it cannot be written.
        """
        atomic_torch_save(dict(name=self.name, key=self.key, **self.bank.state()), path, CURE)

    @classmethod
    def load(cls, path: str | Path) -> 'RegisteredClass':
        """Read a class that was saved; a file of :meth:`SupportBank.save` gets the file's name.

        Whether the bank fits a model is checked when that model is asked to use it.

        Raises:
            FileNotFoundError: When there is no such file.
            ValueError: When it holds something else.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f'there is no bank {path}; `RegisteredClass.save` or `demo/segment.py --save-bank` writes one'
            )
        try:
            content = torch.load(path, map_location='cpu', weights_only=True)
            bank = SupportBank.from_state(content)
        except Exception as error:  # torch, pickle and zip each have their own
            kind = foreign_kind(path) or type(error).__name__
            raise ValueError(
                f'{path} is no bank ({kind}). A checkpoint is not one; register the class again and save it'
            ) from error
        key = content.get('key') or hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
        return cls(content.get('name') or path.stem, bank, key)


def check_names(names: Sequence[str]) -> None:
    """Refuse classes that cannot be told apart in one mask.

    Raises:
        ValueError: When there is none, two have one name, or there are more than a mask can hold.
    """
    if not names or len(set(names)) < len(names):
        raise ValueError(f'give at least one class, each with a name of its own; the names are {names}')
    if len(names) > MAX_CLASSES:
        raise ValueError(f'{len(names)} classes at once, possible are {MAX_CLASSES}: a mask has one byte a pixel')


def as_list(value) -> list:
    """One or several images, masks or classes as a list."""
    return list(value) if isinstance(value, (list, tuple)) else [value]
