# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The form of docstring entries (CONTRIBUTING.md) that ruff does not check."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
FILES = sorted(path for folder in ('mmfss', 'tools', 'demo') for path in (REPO / folder).rglob('*.py'))
# Names as they are written in code, which no entry capitalises.
AS_IN_CODE = ('bool', 'float', 'int', 'dict', 'list', 'str', 'tuple', 'mmseg', 'mmengine', 'numpy', 'torch', 'psi')
ENTRY = re.compile(r'(?P<names>[A-Za-z_*][\w, *]*)(?: \((?P<type>.+?)\))?:(?: (?P<text>.+))?')


def entries(docstring: str) -> Iterator[tuple[str, str]]:
    """Section and first line of each entry of Args, Attributes and Raises."""
    section = None
    for line in docstring.split('\n'):
        if header := re.fullmatch(r'(\w+):', line):
            section = header[1]
        elif section in ('Args', 'Attributes', 'Raises') and re.match(r' {4}\S', line):
            yield section, line.strip()
        elif line and not line.startswith(' '):
            section = None


def fault(section: str, entry: str) -> str | None:
    """What is wrong with an entry."""
    if section == 'Raises':
        return None if re.match(r'[\w., ]+: When\b', entry) else '`Exception: When ...`'
    found = ENTRY.fullmatch(entry)
    if found is None:
        return '`name (type): Sentence.`'
    if found['type'] is None and not found['names'].startswith('*'):
        return 'a type in brackets'
    word = re.match(r"[a-z][a-z'-]+(?=[\s,;:.]|$)", found['text'] or '')
    return 'a capital letter' if word and word[0].split("'")[0] not in AS_IN_CODE else None


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(REPO)))
def test_entries_have_the_one_form(path):
    faults = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (text := ast.get_docstring(node)):
            faults += [f'{entry!r} needs {wanted}' for name, entry in entries(text) if (wanted := fault(name, entry))]
    assert not faults, f'{path}: ' + '; '.join(faults)


@pytest.mark.parametrize(
    'section, entry',
    [
        ('Args', 'x (Tensor): image (N, 3, H, W).'),
        ('Args', 'x: Image.'),
        ('Attributes', 'Some sentence without a name.'),
        ('Raises', 'ValueError: If it is wrong.'),
        ('Raises', 'ValueError: when it is wrong.'),
    ],
)
def test_other_forms_are_found(section, entry):
    assert fault(section, entry)


@pytest.mark.parametrize(
    'entry', ['x (Tensor): (N, C).', '**kwargs: See Base.', 'a, b (int): One each.', 'x (Tensor): bool (N,).']
)
def test_the_form_passes(entry):
    assert fault('Args', entry) is None
