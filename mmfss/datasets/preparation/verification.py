# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Counting a prepared data set and comparing the counts with the expected ones."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mmfss.datasets.few_shot_dataset import FewShotSegDataset
from mmfss.utils.files import atomic_write_json

from .files import PreparationError

SHORT = 16  # digits of a hash that are printed and compared


@dataclass(frozen=True)
class ListCount:
    """What one list (a fold and phase) holds; of an expectation, what is known.

    Args:
        images (int): Images of the phase.
        sha256 (str, optional): First 16 digits of the hash over the images' names, in order.
        classes (dict[str, int]): Candidates of each class of the phase, by name.
    """

    images: int
    sha256: str | None = None
    classes: dict[str, int] = field(default_factory=dict)


def names_hash(names: Iterable[str]) -> str:
    """First 16 digits of SHA-256 over names, one a line: ``sha256sum`` of a list file gives the same."""
    return hashlib.sha256(''.join(f'{name}\n' for name in names).encode()).hexdigest()[:SHORT]


def count_images(dataset: FewShotSegDataset) -> ListCount:
    """Count images and candidates of a data set and hash its list."""
    dataset.full_init()
    return ListCount(
        images=len(dataset),
        sha256=names_hash(dataset.name(dataset.position(i)) for i in range(len(dataset))),
        classes={dataset.class_names[c]: len(dataset.candidates(c)) for c in dataset.phase_class_ids},
    )


def difference(found: ListCount, expected: ListCount | None, tolerance: float = 0) -> list[str]:
    """What differs, in words; nothing when all that is known agrees.

    Args:
        found (ListCount): What was counted.
        expected (ListCount, optional): What should be there; None and missing parts are not compared.
        tolerance (float): Percent by which numbers may differ; the hash is compared at 0 alone.
    """
    if expected is None:
        return []
    pairs = [('images', found.images, expected.images)]
    pairs += [(name, found.classes.get(name, 0), number) for name, number in expected.classes.items()]
    words = [
        f'{name}: {here}, expected {there}'
        for name, here, there in pairs
        if abs(here - there) > tolerance / 100 * there
    ]
    if not tolerance and expected.sha256 and found.sha256 != expected.sha256:
        words.append(f'list {found.sha256}, expected {expected.sha256}')
    return words


def format_table(counts: dict[str, ListCount], expected: dict[str, ListCount], tolerance: float = 0) -> str:
    """Markdown: a row a list, then a row a class of each list."""
    rows = [['list', 'class', 'images', 'expected', 'hash of the list', ''], ['---'] * 6]
    for key, found in counts.items():
        known = expected.get(key)
        words = difference(found, known, tolerance)
        rows.append(
            [
                key,
                'all',
                found.images,
                known.images if known else '-',
                found.sha256,
                '' if known is None else 'DIFFERS' if words else 'as expected',
            ]
        )
        for name, number in found.classes.items():
            there = known.classes.get(name) if known else None
            rows.append(
                [
                    '',
                    name,
                    number,
                    '-' if there is None else there,
                    '',
                    'DIFFERS' if any(w.startswith(f'{name}: ') for w in words) else '',
                ]
            )
    return '\n'.join('| ' + ' | '.join(map(str, row)) + ' |' for row in rows)


def save_counts(counts: dict[str, ListCount], path: Path) -> None:
    """Write counts as JSON, to be another copy's expectation."""
    atomic_write_json({key: asdict(count) for key, count in counts.items()}, path)


def read_counts(path: Path) -> dict[str, ListCount]:
    """Read what :func:`save_counts` wrote.

    Raises:
        PreparationError: When it is something else.
    """
    try:
        return {key: ListCount(**value) for key, value in json.loads(path.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise PreparationError(
            f'{path} holds no counts ({type(error).__name__}: {error}). `verify.py --save FILE` writes such a file.'
        ) from error
