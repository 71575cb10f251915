# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Finding configs by path or name, and reading what they say about a component."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

_PACKAGE = Path(__file__).parents[1]


def resolve_config(name: str | Path) -> Path:
    """Find a config given relative to the working folder, the repository or the installed package.

    Args:
        name (str | Path): Such as 'configs/msanet/r50_pascal_1shot.py'.

    Returns:
        Path: The file.

    Raises:
        FileNotFoundError: When there is no such file; the message lists the places that were tried.
    """
    tried = [Path(name), _PACKAGE.parent / name, _PACKAGE / '.mim' / name]
    for path in tried:
        if path.is_file():
            return path
    places = ', '.join(str(path) for path in tried)
    raise FileNotFoundError(f'There is no config {name}: tried {places}.')


def find_config(config: str | Path | Config) -> Config:
    """A config from itself, its path, or a model name such as 'msanet/lite0_pascal_1shot' (short where unique).

    Raises:
        FileNotFoundError: When there is none, with the names that are near.
        ValueError: When several configs have the name.
    """
    if isinstance(config, Config):
        return config
    if Path(config).suffix == '.py':
        return Config.fromfile(resolve_config(config))
    named = _shipped_configs()
    found = [name for name in named if name == str(config) or name.endswith(f'/{config}')]
    if len(found) > 1:
        raise ValueError(f"several configs are called '{config}': {', '.join(found)}. Give one of these names")
    if not found:
        short = {name.split('/')[-1]: name for name in named}
        near = difflib.get_close_matches(str(config).split('/')[-1], short, 3, 0.4)
        raise FileNotFoundError(
            f"there is no model '{config}'. Near are: {', '.join(near) or 'none'}. Give the path "
            'of a config file (.py), or a name below configs/'
        )
    return Config.fromfile(named[found[0]])


def config_name(path: str | Path) -> str:
    """What a config is called in results: 'msanet/r50_pascal_1shot' below a folder ``configs``, else its file's name.

    Args:
        path (str | Path): Its file, or its name already.

    Raises:
        ValueError: When that is empty, or a folder's root.
    """
    if not Path(path).name:
        raise ValueError(f'There is no config {str(path)!r}: give the path of its file')
    parts = Path(path).with_suffix('').parts
    below = max((i + 1 for i, part in enumerate(parts[:-1]) if part == 'configs'), default=len(parts) - 1)
    return '/'.join(parts[below:])


def _shipped_configs() -> dict[str, Path]:
    """Name ('msanet/r50_pascal_1shot') -> path; of the working folder, the repository and the installed package."""
    found = {}
    for root in (Path('configs'), _PACKAGE.parent / 'configs', _PACKAGE / '.mim' / 'configs'):
        for path in sorted(root.rglob('*.py')):
            if '_base_' not in path.parts:
                found.setdefault(path.relative_to(root).with_suffix('').as_posix(), path)
    return found


def type_name(config: Any) -> str:
    """The class name that a component's config gives, without its scope.

    Args:
        config (Any): A config such as ``dict(type='mmfss.EpisodicDataset', ...)``; the type may be the class itself.

    Returns:
        str: Such as 'EpisodicDataset'; '' where there is no type.
    """
    kind = config.get('type') if isinstance(config, Mapping) else None
    return kind.__name__ if isinstance(kind, type) else str(kind or '').split('.')[-1]


def gives_episodes(config: Any) -> bool:
    """Whether a data set's config is one of episodes, of one class a query or of several."""
    return type_name(config) in ('EpisodicDataset', 'NWayEpisodicDataset')
