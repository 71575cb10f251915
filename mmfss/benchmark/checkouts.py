# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The released codes that can be a peer: whether a folder is a checkout of one, its modules, its weights from ours."""

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from torch import Tensor, nn

from mmfss.conversion.names import Rules, rename
from mmfss.utils.wording import listed

# Repository -> the file of its model.
RELEASED_FILES = {
    'AIVResearch/MSANet': 'model/MSANet.py',
    'juhongm999/hsnet': 'model/hsnet.py',
    'Seokju-Cho/Volumetric-Aggregation-Transformer': 'model/vat.py',
}


def check_checkout(folder: str | Path, repository: str | None = None) -> None:
    """Refuse, before long work, what is no checkout of a released code.

    Args:
        folder (str | Path): What the user gave.
        repository (str, optional): Key of :data:`RELEASED_FILES`. Defaults to any of them.

    Raises:
        FileNotFoundError: When the folder or its model is missing.
    """
    wanted = [repository] if repository else list(RELEASED_FILES)
    files = [RELEASED_FILES[name] for name in wanted]
    if not any(Path(folder, file).is_file() for file in files):
        raise FileNotFoundError(
            f'--reference {folder} is no checkout of {" or ".join(wanted)}: there is no file {" or ".join(files)}'
        )


@contextmanager
def its_module(folder: Path, name: str, stand_ins: Mapping[str, ModuleType] | None = None) -> Iterator[ModuleType]:
    """A module of a checkout; others' modules in packages of the same names come back afterwards.

    Args:
        folder (Path): The checkout.
        name (str): Of the module, such as 'model.hsnet'.
        stand_ins (Mapping[str, ModuleType], optional): Modules by name that it gets instead of its own.
    """
    stand_ins = stand_ins or {}
    rooms = {full.split('.')[0] for full in (name, *stand_ins)}

    def taken() -> list[str]:
        return [full for full in sys.modules if full.split('.')[0] in rooms]

    kept = {full: sys.modules.pop(full) for full in taken()}
    sys.modules.update(stand_ins)
    sys.path.insert(0, str(folder.resolve()))
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(folder.resolve()))
        for full in taken():
            del sys.modules[full]
        sys.modules.update(kept)


def released_state(own: nn.Module, released: nn.Module, rules: Rules, keep_others: bool = False) -> dict[str, Tensor]:
    """Our weights under the released names.

    Args:
        own (nn.Module): Our model.
        released (nn.Module): Whose state dict says which names are wanted.
        rules (Rules): From released names to ours.
        keep_others (bool): Weights that ours does not have, such as ImageNet's classifier, keep their values. Defaults
            to False: they are an error.

    Raises:
        ValueError: When ours has no weight for one of the names.
    """
    theirs, ours = released.state_dict(), own.state_dict()
    named, unknown = rename({key: key for key in theirs}, rules)
    missing = [*unknown, *(key for name, key in named.items() if name not in ours)]
    if missing and not keep_others:
        raise ValueError(f'the released model has weights that this config has not: {listed(missing, 4)}')
    return theirs | {key: ours[name] for name, key in named.items() if name in ours}
