# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What a file is that is no plain picture, by its first bytes whatever its name, and what to do with it."""

import gzip
import re
import zlib
from pathlib import PurePath

HEAD = 4096  # bytes that tell
_EXPORT = 'Export it as JPEG or PNG.'
_SLICES = 'Save its slices as 8-bit PNG with the window (the range of grey levels) that shows the object.'
_FETCH = 'Fetch the file itself again.'
_FILM = 'Give it under a name that ends in .mp4, .mov, .avi, .mkv or .webm, or save frames as PNG.'
_RAW_SUFFIXES = ('.nef', '.nrw', '.dng', '.arw', '.sr2', '.srf', '.pef', '.cr2', '.crw', '.erf', '.3fr', '.iiq', '.kdc')
_RAW = "a camera's RAW file"
_DEVELOP = 'Develop it: export it as JPEG or PNG.'
# Boxes of ISO media files by their brand.
_HEIC = (b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1', b'miaf')
_AVIF = (b'avif', b'avis')
_PREFIXES = (
    (b'%PDF', 'a PDF document', 'Export the page, or the picture in it, as PNG.'),
    (b'8BPS', 'a Photoshop document (PSD)', 'Export it, flattened, as PNG.'),
    (b'%!PS', 'a PostScript file (EPS)', 'Export it as PNG.'),
    (b'\xc5\xd0\xd3\xc6', 'a PostScript file (EPS)', 'Export it as PNG.'),
    (b'gimp xcf', 'a GIMP file (XCF)', 'Export it as PNG.'),
    (b'AT&TFORM', 'a DjVu document', _EXPORT),
    (b'\xd7\xcd\xc6\x9a', 'a Windows metafile (WMF)', _EXPORT),
    (b'FUJIFILMCCD-RAW', _RAW, _DEVELOP),
    (b'IIRO', _RAW, _DEVELOP),
    (b'IIRS', _RAW, _DEVELOP),
    (b'MMOR', _RAW, _DEVELOP),
    (b'IIU\x00', _RAW, _DEVELOP),
    (b'FOVb', _RAW, _DEVELOP),
    (b'\xff\x0a', 'a JPEG XL picture', _EXPORT),
    (b'\x00\x00\x00\x0cJXL ', 'a JPEG XL picture', _EXPORT),
    (b'NRRD', 'a medical volume (NRRD)', _SLICES),
    (b'ObjectType', 'a medical volume (MetaImage)', _SLICES),
    (b'\x89HDF', 'an HDF5 file', 'Read the array from it and save it as PNG.'),
    (b'MATLAB', 'a MATLAB file', 'Read the array from it and save it as PNG.'),
    (b'SIMPLE  =', 'an astronomical picture (FITS)', _EXPORT),
    (b'\x93NUMPY', 'a NumPy array', 'In Python give np.load(path) itself; else save it as PNG.'),
    (b'\x1aE\xdf\xa3', 'a video (Matroska, WebM)', _FILM),
    (b'\x00\x00\x01\xba', 'a video (MPEG)', _FILM),
    (b'\x00\x00\x01\xb3', 'a video (MPEG)', _FILM),
    (b'FLV\x01', 'a video (FLV)', _FILM),
    (b'OggS', 'a video or sound (Ogg)', _FILM),
    (b'\x30\x26\xb2\x75', 'a video (WMV)', _FILM),
    (b'version https://git-lfs', 'a pointer of Git LFS', 'Run: git lfs pull'),
    (b'PK\x03\x04', 'a ZIP archive (or an Office document)', 'Unpack it and give the pictures in it.'),
    (b'Rar!', 'a RAR archive', 'Unpack it and give the pictures in it.'),
    (b'7z\xbc\xaf', 'a 7-Zip archive', 'Unpack it and give the pictures in it.'),
)


def file_kind(head: bytes, path: str = '') -> tuple[str, str] | None:
    """Name a file that is known and no picture which this package reads.

    Args:
        head (bytes): Its first :data:`HEAD` bytes, or all.
        path (str): Its name; the suffix tells RAW files, which begin as TIFF files do.

    Returns:
        tuple[str, str] | None: What it is ('a PDF document') and the cure ('Export it ...'); None: not known here.
    """
    if not head:
        return 'an empty file', _FETCH
    for prefix, what, cure in _PREFIXES:
        if head.startswith(prefix):
            return what, cure
    if head[4:8] == b'ftyp':
        return _media(head)
    if head[128:132] == b'DICM':
        return 'a DICOM file', _SLICES
    if head.startswith(b'\x1f\x8b'):
        return _packed(head)
    if _nifti(head):
        return 'a NIfTI volume', _SLICES
    if head[:4] in (b'II*\0', b'MM\0*') and (head[8:10] == b'CR' or PurePath(path).suffix.lower() in _RAW_SUFFIXES):
        return _RAW, _DEVELOP
    if head.startswith(b'RIFF') and head[8:12] == b'AVI ':
        return 'a video (AVI)', _FILM
    return _text(head)


def kind_of(path: str) -> tuple[str, str] | None:
    """:func:`file_kind` of a file; None where it cannot be opened."""
    try:
        with open(path, 'rb') as stream:
            return file_kind(stream.read(HEAD), path)
    except OSError:
        return None


def _media(head: bytes) -> tuple[str, str] | None:
    length = int.from_bytes(head[:4], 'big')
    brands = [head[8:12], *(head[i : i + 4] for i in range(16, min(length, len(head)), 4))]
    if any(brand in _AVIF for brand in brands):
        return None
    if brands[0] in _HEIC or any(brand in _HEIC[:6] for brand in brands):
        return 'a HEIC picture (as iPhones save them)', 'Export it as JPEG or PNG.'
    if brands[0] == b'crx ':
        return _RAW, _DEVELOP
    return 'a video (MP4, MOV)', _FILM


def _packed(head: bytes) -> tuple[str, str]:
    try:
        start = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(head, 512)
    except (zlib.error, gzip.BadGzipFile, EOFError):
        start = b''
    if _nifti(start):
        return 'a NIfTI volume', _SLICES
    if b'<svg' in start:
        return 'a drawing (SVG)', 'Export it as PNG.'
    return 'a gzip archive', 'Unpack it and give the picture in it.'


def _nifti(head: bytes) -> bool:
    return head[344:348] in (b'n+1\0', b'ni1\0') or head[4:8] in (b'n+2\0', b'ni2\0')


def _text(head: bytes) -> tuple[str, str] | None:
    start = head[:512].lstrip(b'\xef\xbb\xbf \t\r\n').lower()
    if re.match(rb'<!doctype html|<html|<head|<body', start):
        return 'a web page (HTML)', _FETCH
    if b'<svg' in head[:HEAD].lower() and start.startswith(b'<'):
        return 'a drawing (SVG)', 'Export it as PNG.'
    if start.startswith((b'<?xml', b'<annotation')):
        return 'an XML file', 'Give the picture, not the annotation.'
    if start.startswith((b'{', b'[')):
        return 'a JSON file', 'Give the picture, not the annotation.'
    if start and not re.search(rb'[\x00-\x08\x0e-\x1f\x7f-\xff]', head[:512]) and not re.match(rb'p[1-7f]\s', start):
        return 'a text file', _FETCH
    return None
