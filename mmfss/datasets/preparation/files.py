# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What every converter needs: whole files or none, free space, archives, all cores, progress."""

import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from mmfss.datasets.listings import read_lines
from mmfss.datasets.synthetic.writer import voc_palette
from mmfss.utils.files import atomic_path, atomic_write_text, check_writable, remove_leftovers
from mmfss.utils.workers import WorkerDied, run_in_workers

DISK_RESERVE = 64 * 2**20  # bytes that stay free
MAX_MEMBER = 256 * 2**20  # bytes of a file in an archive; the largest official one has less than one MiB
SHOWN = 3  # names in an error message


class PreparationError(ValueError):
    """Something is wrong with a download; the message names the file and the cure."""


def need_space(folder: Path, needed: int) -> None:
    """Refuse to begin when less than ``needed`` bytes (and a reserve) are free at ``folder``.

    Raises:
        PreparationError: When there is too little space; the message names folder, free and needed space.
        OSError: When the folder cannot be written.
    """
    check_writable(folder)
    place = next(p for p in (folder, *folder.absolute().parents) if p.is_dir())
    free = shutil.disk_usage(place).free
    if free < needed + DISK_RESERVE:
        wanted = (needed + DISK_RESERVE) / 2**20
        raise PreparationError(
            f'{folder}: {free / 2**20:.0f} MiB free, about {wanted:.0f} MiB needed. Free some '
            'space or choose another folder.'
        )


def finished_stems(folder: Path) -> set[str]:
    """Masks that an earlier run finished, as paths below ``folder`` without suffix.

    What it was writing when it was killed is removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for place in (folder, *(path for path in folder.rglob('*') if path.is_dir())):
        remove_leftovers(place)
    return {path.relative_to(folder).with_suffix('').as_posix() for path in folder.rglob('*.png')}


def save_index_png(labels: np.ndarray, path: Path) -> None:
    """Save labels (h, w) uint8 as a PNG of indices with the palette of PASCAL VOC."""
    mask = Image.fromarray(labels.astype(np.uint8))
    mask.putpalette(voc_palette())  # makes an index image of it
    with atomic_path(path, sync=False) as half:
        mask.save(half, format='PNG')


def save_names(names: Sequence[str], path: Path) -> None:
    """Save a list, one name a line."""
    atomic_write_text(''.join(f'{name}\n' for name in names), path)


def read_list(path: Path) -> list[str]:
    """The names of a list of the download.

    Raises:
        PreparationError: When the list is missing, empty, or names something twice.
    """
    if not path.is_file():
        raise PreparationError(f'The list {path} is missing: the download is not complete or not the right one.')
    names = [name for line in read_lines(path) for name in line.split()]
    if not names or len(set(names)) < len(names):
        raise PreparationError(f'The list {path} is empty or names an image twice. Fetch it again.')
    return names


def need_files(what: str, folder: Path, names: Sequence[str], suffix: str) -> None:
    """Refuse a folder without ``<name><suffix>`` for every name.

    Raises:
        PreparationError: When files are missing; the message says how many and names the first.
    """
    there = set(os.listdir(folder)) if folder.is_dir() else set()
    missing = [name + suffix for name in names if name + suffix not in there]
    if missing:
        raise PreparationError(
            f'{len(missing)} of {len(names)} {what} are missing in {folder}: '
            f'{", ".join(missing[:SHOWN])}{" ..." if len(missing) > SHOWN else ""}. The download is '
            'not complete, or it is another release; fetch or unpack it again.'
        )


def unpack(archive: Path, wanted: Callable[[PurePosixPath], str | None], out: Path) -> None:
    """Copy the wanted files of a tar archive, compressed or not, keeping what is there with the same size.

    Args:
        archive (Path): The archive.
        wanted (Callable): Gives the path below ``out`` of a member, or None to leave it.
        out (Path): Where to put the files.

    Raises:
        PreparationError: When it is no tar archive, is cut off, unpacks to more than fits, or holds what no data set
            does; whole files that were copied stay for the next try.
        OSError: When a file cannot be written; names archive and member.
    """
    if zipfile.is_zipfile(archive):
        raise PreparationError(
            f'{archive} is a zip archive; tar archives alone are unpacked. Unpack it and give the folder.'
        )
    need_space(out, archive.stat().st_size)
    try:
        with tarfile.open(archive) as tar:
            for member in tqdm(tar, desc=f'unpacking {archive.name}', unit='', mininterval=0.5):
                target = wanted(PurePosixPath(member.name)) if member.isfile() else None
                if target is not None:
                    _unpack_member(tar, member, archive, out, target)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise PreparationError(
            f'The archive {archive} is cut off or no archive ({error}). Fetch it again; what was unpacked is kept.'
        ) from error
    except OSError as error:
        if error.errno is not None:  # gzip raises errors without number for broken data
            raise
        raise PreparationError(f'The archive {archive} is damaged ({error}). Fetch it again.') from error


def _unpack_member(tar: tarfile.TarFile, member: tarfile.TarInfo, archive: Path, out: Path, target: str) -> None:
    path = out / target
    if '..' in PurePosixPath(target).parts or PurePosixPath(target).is_absolute():
        raise PreparationError(
            f'{archive} holds {member.name}, a path that leads out of the folder to unpack to. It is not the official '
            'archive; fetch it again.'
        )
    if path.is_file() and path.stat().st_size == member.size:
        return
    if member.size > MAX_MEMBER:
        raise PreparationError(
            f'{archive} holds {member.name} of {member.size / 2**20:.0f} MiB, far more than any image or list has. It '
            'is not the official archive; fetch it again.'
        )
    try:
        need_space(out, member.size)  # what a packed archive unpacks to is not known before
    except PreparationError as error:
        raise PreparationError(f'{archive}, at {member.name}: {error} What was unpacked is kept.') from error
    try:
        with atomic_path(path, sync=False) as half:
            _copy(tar.extractfile(member), half, member.size)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, f'{member.name} of {archive}: {error.strerror}', str(path)) from error


def _copy(source, path: Path, size: int) -> None:
    with open(path, 'wb') as stream:
        shutil.copyfileobj(source, stream, 1 << 20)
        if stream.tell() != size:
            raise tarfile.ReadError('unexpected end of data')


def run_jobs(
    work: Callable, jobs: Sequence, folder: Path, *, workers: int | None, name_of: Callable[[Any], str] = str
) -> None:
    """Do all jobs on all cores with a progress bar.

    Args:
        work (Callable): Takes one job; a function of a module. A :class:`PreparationError` stops that job alone.
        jobs (Sequence): What to do.
        folder (Path): Where the files go; what a process that was killed left half written there is removed.
        workers (int, optional): Processes, None for one a core, 0 for this process alone.
        name_of (Callable[[Any], str]): How an error calls a job.

    Raises:
        PreparationError: When some jobs failed: how many, and why the first did. The others are done. Or a process was
            killed: names the job.
    """
    tasks = [(work, job) for job in jobs]
    bar = dict(total=len(tasks), desc=folder.name, unit='', mininterval=0.5)
    try:
        with closing(run_in_workers(_try, tasks, workers, lambda task: name_of(task[1]))) as done:
            results = list(tqdm(done, **bar))
    except WorkerDied as error:
        finished_stems(folder)
        raise PreparationError(f'{error} The same command again resumes where it stopped.') from error
    failed = sorted(result for result in results if result is not None)
    if failed:
        raise PreparationError(
            f'{len(failed)} of {len(tasks)} files could not be made, the first: {failed[0]} '
            'Fix this and run the same command again: it resumes where it stopped.'
        )


def _try(task: tuple) -> str | None:
    work, job = task
    try:
        work(job)
    except PreparationError as error:
        return str(error)
    return None
