# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The released codes that can be a peer, and whether a folder is a checkout of one."""

from pathlib import Path

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
