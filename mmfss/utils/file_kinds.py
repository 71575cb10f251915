# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What a file is that should be a checkpoint and is none: a web page, a pointer, half a download, another format."""

import os
import zipfile

_HEAD = 1024  # bytes that tell
# first bytes -> what such a file is, and what helps where something does
_SIGNATURES = (
    (b'\x1f\x8b', 'a gzip archive; unpack it first'),
    (b'7z\xbc\xaf\x27\x1c', 'a 7z archive; unpack it first'),
    (b'Rar!\x1a\x07', 'a RAR archive; unpack it first'),
    (b'\xfd7zXZ\x00', 'an xz archive; unpack it first'),
    (b'BZh', 'a bzip2 archive; unpack it first'),
    (b'\x28\xb5\x2f\xfd', 'a zstd archive; unpack it first'),
    (b'\x89HDF', 'an HDF5 file (Keras, h5py)'),
    (b'\x93NUMPY', 'a NumPy array'),
    (b'GGUF', 'a GGUF file'),
    (b'\x89PNG', 'a PNG image'),
    (b'\xff\xd8\xff', 'a JPEG image'),
    (b'GIF8', 'a GIF image'),
    (b'%PDF', 'a PDF document'),
)
_LFS = b'version https://git-lfs'


def foreign_kind(path: str | os.PathLike) -> str | None:
    """What a file is when it cannot be a checkpoint of torch.

    Only the beginning is read, of a zip archive its table of contents.

    Args:
        path (str | PathLike): A file that exists.

    Returns:
        str | None: Such as 'a web page (HTML), not the file behind the link'; None where nothing speaks against it.
    """
    size = os.path.getsize(path)
    with open(path, 'rb') as stream:
        head = stream.read(_HEAD)
    if size == 0:
        return 'an empty file'
    if head.startswith(b'PK'):
        return _zip_kind(path)
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[257:262] == b'ustar':
        return 'a tar archive; unpack it first'
    if len(head) > 9 and head[8:9] == b'{' and 0 < int.from_bytes(head[:8], 'little') < 1 << 32:
        return 'a safetensors file; read it with safetensors.torch.load_file and write it with torch.save'
    if not any(head):
        return 'full of zeros: the download or the disk failed'
    return _text_kind(head)


def _zip_kind(path: str | os.PathLike) -> str | None:
    """``torch.save`` writes a zip archive; its table of contents comes last, so half a file has none."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return 'cut off or damaged: the end of the archive is missing. Fetch or copy it again'
    files = [os.path.basename(name) for name in names if not name.endswith('/')]
    if 'constants.pkl' in files:
        return 'a TorchScript program, not weights'
    if 'data.pkl' in files:
        return None
    if files and all(name.endswith('.npy') for name in files):
        return 'a NumPy archive (.npz)'
    if any(name.endswith('.json') for name in files) and any('/data/' in name or '/models/' in name for name in names):
        return 'an exported program (torch.export), not weights'
    listed = ', '.join(files[:3]) + (', ...' if len(files) > 3 else '')
    return f'a zip archive without weights (it holds {listed or "nothing"}); if a checkpoint is in it, unpack it first'


def _text_kind(head: bytes) -> str | None:
    """Kinds of text; None for what is no text."""
    try:
        text = head.decode('utf-8')
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a character that the reading cut in two
            return None
        text = head[: error.start].decode('utf-8')
    if any(ord(c) < 32 and c not in '\t\n\r\f' for c in text):
        return None  # pickles of protocol 0 are text too, but hold no tensors of torch
    if head.startswith(_LFS):
        return 'a Git LFS pointer, not the file itself: run `git lfs pull`'
    if '/annex/objects/' in text[:300]:
        return 'a git-annex pointer, not the file itself: run `git annex get`'
    begin = text.lstrip('\ufeff \t\r\n')
    if begin[:200].lower().startswith(('<!doctype', '<html', '<head', '<body', '<script')) or '<html' in text.lower():
        return 'a web page (HTML), not the file behind the link. Fetch it again with a browser or by its direct address'
    if begin.startswith('<'):
        return 'an XML or HTML text (an answer of a server?), not the file itself. Fetch it again'
    words = ' '.join(begin.split())
    return f'a text that begins with "{words[:40]}"' if words else 'a text of blanks'
