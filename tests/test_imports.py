# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Imports run downwards only: who reads a room needs to know the rooms below it and no others."""

import ast
from importlib.util import resolve_name
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
FLOORS = (  # from below; rooms of one floor do not know each other
    ('registry', 'version'),
    ('utils',),
    ('structures',),
    ('datasets', 'evaluation'),
    ('models', 'visualization'),
    ('conversion',),
    ('engine',),
    ('apis', 'benchmark', 'deployment'),
    ('tools', 'demo'),
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imported_rooms(path: Path) -> set[str]:
    """The rooms of mmfss that a file imports, also within functions."""
    parts = path.relative_to(REPO).parts
    package, found = '.'.join(parts[:-1]), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name('.' * node.level + (node.module or ''), package)
            names = [f'{module}.{alias.name}' for alias in node.names]
        else:
            continue
        found |= {name.split('.')[1] for name in names if name.startswith('mmfss.')}
    return found & FLOOR_OF.keys()


@pytest.mark.parametrize('room', FLOOR_OF)
def test_imports_run_downwards_only(room):
    folder = REPO / room if room in FLOORS[-1] else REPO / 'mmfss' / room
    files = sorted(folder.rglob('*.py')) or [folder.with_suffix('.py')]
    upwards = {
        f'{path.relative_to(REPO)} imports mmfss.{other}'
        for path in files
        for other in imported_rooms(path) - {room}
        if FLOOR_OF[other] >= FLOOR_OF[room]
    }
    assert not upwards


def test_every_room_has_a_floor():
    rooms = {
        path.stem for path in (REPO / 'mmfss').iterdir() if path.suffix == '.py' or (path / '__init__.py').is_file()
    }
    assert rooms - {'__init__'} == FLOOR_OF.keys() - set(FLOORS[-1])
