# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Files of text, JSON and XML from any system, and names of images in them."""

import json
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from .errors import AnnotationError

LONGEST = 230  # bytes of a name; file systems take 255, with a suffix and what a half file is called
_BOMS = (
    (b'\xff\xfe\x00\x00', 'utf-32'),
    (b'\xff\xfe', 'utf-16'),
    (b'\xfe\xff', 'utf-16'),
    (b'\xef\xbb\xbf', 'utf-8-sig'),
)


def decode_text(data: bytes) -> str:
    """Text of a file: UTF-8 with or without a mark, UTF-16 with one, else Latin-1 as Windows has it."""
    encoding = next((name for mark, name in _BOMS if data.startswith(mark)), 'utf-8')
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return data.decode('cp1252', 'replace')


def read_bytes(path: str | Path) -> bytes:
    """The content of a regular file; a pipe would be waited for for ever.

    Raises:
        FileNotFoundError: When there is none.
        AnnotationError: When it is a folder or device.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'There is no annotation {path}. Check the path.')
    if not path.is_file():
        raise AnnotationError(f'{path} is no file. Give the annotation itself.')
    return path.read_bytes()


def load_json(path: str | Path) -> Any:
    """Parsed JSON, whatever it is of.

    Raises:
        AnnotationError: When it is cut off, or no JSON.
    """
    return parse_json(read_bytes(path), path)


def parse_json(data: bytes, path: Any) -> Any:
    """As :func:`load_json`, of what was read already."""
    try:
        return json.loads(decode_text(data))
    except (ValueError, RecursionError) as error:
        raise AnnotationError(
            f'{path} is cut off or no JSON ({type(error).__name__}: {error}). Fetch or export it again.'
        ) from error


def parse_xml(data: bytes, path: Any) -> Element:
    """Root of an XML file without entities, which can grow to any size or name other files.

    Raises:
        AnnotationError: When it is cut off, no XML, or defines entities.
    """
    try:
        return ElementTree.fromstring(data)
    except DefusedXmlException as error:
        raise AnnotationError(
            f'{path} defines entities ({type(error).__name__}), which no annotation tool does; it is not read. '
            'Export it again.'
        ) from error
    except (ParseError, ValueError, LookupError, RecursionError) as error:
        try:  # a tool that says nothing of the encoding, and writes Latin-1
            return ElementTree.fromstring(decode_text(data).encode())
        except (ParseError, ValueError, LookupError, RecursionError, DefusedXmlException):
            raise AnnotationError(f'{path} is cut off or no XML ({error}). Fetch or export it again.') from error


def relative_name(name: str, path: Any) -> str:
    """An image's name with the folders that a file gives it, below whatever folder the images lie in.

    Raises:
        AnnotationError: When the name is empty or leads out of that folder.
    """
    flat = name.replace('\\', '/').strip()
    parts = [part for part in PurePosixPath(flat).parts if part != '.']
    too_long = any(len(part.encode('utf-8', 'replace')) > LONGEST for part in parts)
    if not parts or '..' in parts or '\0' in flat or too_long:
        raise AnnotationError(
            f'{path} has an image of the name {name[:300]!r}, which is no file below a folder. Correct the file.'
        )
    if flat.startswith('/') or PureWindowsPath(flat).drive:
        parts = parts[1:]  # a path on the machine of the annotator
    if not parts:
        raise AnnotationError(f'{path} has an image of the name {name!r}, which is no file. Correct the file.')
    return '/'.join(parts)


def stem(name: str) -> str:
    """A relative name without suffix, folders kept."""
    path = PurePosixPath(name)
    return path.with_name(path.stem).as_posix() if path.suffix else name
