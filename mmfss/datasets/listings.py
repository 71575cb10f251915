# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Lists and folders of files as users have them: nothing is left out without a word."""

import codecs
import os
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

SHOWN = 3  # names in a message
SYSTEM = ('thumbs.db', 'desktop.ini', 'ehthumbs.db', '__macosx', '@eadir')
HIDDEN, OTHER = 'hidden or of the system', 'of another suffix'
_ALIKE = {'.jpeg': '.jpg', '.jpe': '.jpg', '.jfif': '.jpg', '.tiff': '.tif'}
_MARKS = ((codecs.BOM_UTF8, 'utf-8-sig'), (codecs.BOM_UTF16_LE, 'utf-16'), (codecs.BOM_UTF16_BE, 'utf-16'))


def read_lines(path: str | os.PathLike) -> list[str]:
    """The lines of a text file that are not blank, without blanks around them.

    UTF-8 and UTF-16 with and without a mark at the start, else Windows' Latin letters; any line ends.
    """
    with open(path, 'rb') as stream:
        data = stream.read()
    coding = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    if coding is None and b'\0' in data:
        coding = 'utf-16-be' if data[:1] == b'\0' else 'utf-16-le'
    try:
        text = data.decode(coding or 'utf-8')
    except UnicodeDecodeError:
        text = data.decode('cp1252' if coding is None else coding, errors='replace')
    return [line.strip() for line in re.split(r'\r\n|\r|\n', text) if line.strip()]


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the user's: hidden, macOS's ``._`` companions, Thumbs.db."""
    return name.startswith('.') or name.lower() in SYSTEM


def natural_order(name: str) -> list:
    """Sorts 2 before 10."""
    return [(0, int(part), '') if part.isdigit() else (1, 0, part) for part in re.split(r'(\d+)', name) if part]


def stem_of(name: str, suffix: str) -> str | None:
    """A file name without ``suffix``, whatever its case; .jpeg is .jpg, .tiff is .tif. None: it ends otherwise."""
    if suffix and name.endswith(suffix) and len(name) > len(suffix):  # nearly all
        return name[: -len(suffix)]
    lower, wanted = name.lower(), suffix.lower()
    dot = wanted.rfind('.')
    head, end = (wanted[:dot], wanted[dot:]) if dot >= 0 else ('', wanted)  # such as '_mask' and '.png'
    for ending in (end, *(e for e in (*_ALIKE, *_ALIKE.values()) if _ALIKE.get(e, e) == _ALIKE.get(end, end))):
        if lower.endswith(head + ending) and len(lower) > len(head + ending):
            return name[: -len(head + ending)]
    return None


@dataclass
class Listing:
    """What a folder holds.

    Attributes:
        files (dict): Name without suffix -> file name, by kind: 'image', 'mask'.
        unused (dict): Reason -> file names.
    """

    files: dict[str, dict[str, str]]
    unused: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def list_folder(folder: str | os.PathLike, suffixes: dict[str, str], order: Callable = natural_order) -> Listing:
    """Sort the files of a folder by their suffix.

    Args:
        folder (str | os.PathLike): The folder; those below are not looked into.
        suffixes (dict): Kind -> suffix. Of two that fit, the longer decides.
        order (Callable): Sorts by the file's name. Defaults to numbers in order.

    Raises:
        ValueError: When two files differ by the case of their suffix only.
    """
    listing = Listing({kind: {} for kind in suffixes})
    kinds = sorted(suffixes, key=lambda kind: -len(suffixes[kind]))
    with os.scandir(folder) as found:  # knows what is a file without asking for each of them
        entries = sorted(found, key=lambda entry: order(entry.name))
    for entry in entries:
        name = entry.name
        if is_hidden(name):
            listing.unused[HIDDEN].append(name)
        elif entry.is_dir():
            listing.unused['folders'].append(name)
        elif not entry.is_file():
            listing.unused['dead links' if entry.is_symlink() else 'no plain files'].append(name)
        else:
            stems = ((kind, stem_of(name, suffixes[kind])) for kind in kinds)
            kind, stem = next(((kind, stem) for kind, stem in stems if stem is not None), (None, None))
            if kind is None:
                listing.unused[OTHER].append(name)
            elif stem in listing.files[kind]:
                raise ValueError(
                    f'{folder} holds {listing.files[kind][stem]} and {name}: one name twice. Rename one of them.'
                )
            else:
                listing.files[kind][stem] = name
    return listing


def list_pairs(folder: str | os.PathLike, image_suffix: str, mask_suffix: str) -> tuple[dict, dict]:
    """Images of a folder with their masks beside them, numbers in order.

    Returns:
        tuple[dict, dict]: Name -> (image path, mask path); the mask's may be missing. Reason -> unused file names.

    Raises:
        ValueError: When a name is there twice.
    """
    listing = list_folder(folder, dict(image=image_suffix, mask=mask_suffix))
    images, masks = listing.files['image'], listing.files['mask']
    alone = [masks[stem] for stem in masks if stem not in images]
    if alone:
        listing.unused['masks without an image'] += alone
    return {
        stem: (os.path.join(folder, images[stem]), os.path.join(folder, masks.get(stem, stem + mask_suffix)))
        for stem in sorted(images, key=natural_order)
    }, listing.unused


def say_unused(unused: dict[str, Sequence[str]], where: str = '') -> str:
    """One text on what is left out: numbers, reasons, first names; '' where that is nothing."""
    parts = []
    for reason, names in unused.items():
        shown = ', '.join(f'{where}{name}' for name in names[:SHOWN])
        parts.append(f'{len(names)} {reason} ({shown}{", ..." if len(names) > SHOWN else ""})')
    return '; '.join(parts)


def find_files(names: Sequence[str], folder: str, suffix: str) -> tuple[list[str], dict[str, str]]:
    """Match names of a list with files, where suffixes differ by their case or stand in the list.

    Args:
        names (Sequence[str]): Names without suffix, below ``folder``.
        folder (str): Where the files are.
        suffix (str): Their ending.

    Returns:
        tuple[list[str], dict[str, str]]: The names without suffix; and the path of each file that is not simply
        ``folder/name + suffix``. What is not found stays as it is.
    """
    folders: dict[str, set[str]] = {}
    stems: dict[str, dict[str, str]] = {}
    found, odd = [], {}
    for name in names:
        place, base = os.path.split(name)
        if place not in folders:
            path = os.path.join(folder, place)
            folders[place] = set(os.listdir(path)) if os.path.isdir(path) else set()
        if base + suffix not in folders[place]:
            if place not in stems:
                own = ((stem_of(f, suffix), f) for f in sorted(folders[place]) if not is_hidden(f))
                stems[place] = {stem: f for stem, f in own if stem is not None}
            stem = base if base in stems[place] else stem_of(base, suffix)
            if stem in stems[place]:
                name = os.path.join(place, stem)
                if stems[place][stem] != stem + suffix:
                    odd[name] = os.path.join(folder, place, stems[place][stem])
        found.append(name)
    return found, odd
