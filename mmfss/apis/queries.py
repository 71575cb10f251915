# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What a user wants segmented (files, folders, globs, videos, arrays) to a sequence of named images."""

import glob
import hashlib
import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import mmcv
import numpy as np
from mmengine.logging import print_log
from PIL import Image

from mmfss.datasets.image_files import pil_rgb
from mmfss.datasets.image_headers import check_file, check_path
from mmfss.datasets.listings import HIDDEN, OTHER, is_hidden, natural_order, say_unused
from mmfss.utils.notices import begin_telling

from .images import ImageLike

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
VIDEO_SUFFIXES = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg')


@dataclass(frozen=True)
class Query:
    """An image to segment.

    Attributes:
        name (str): Unique; of a video's frame 'VIDEO/000012'.
        image (ImageLike): Path, (H, W, 3) uint8 RGB array or PIL image.
        source (str): Path, of a frame with '#' and its index; '' for an image that is no file.
        identity (str): Where it comes from, the same in a later run; a name belongs to one identity.
        stamp (str): Changes with the content: size and time of a file, digest of an array.
    """

    name: str
    image: ImageLike = field(repr=False)
    source: str
    identity: str
    stamp: str


class NameBook:
    """Gives every source a name of its own: its stem, and where that is taken its folder in front.

    Args:
        taken (dict[str, str]): Name -> identity of an earlier run into the same folder.
    """

    def __init__(self, taken: dict[str, str] | None = None) -> None:
        self._owners = dict(taken or {})
        self._names = {owner: name for name, owner in self._owners.items()}

    def name(self, identity: str, path: Path | None, number: int = 0) -> str:
        """The name of a file, or of the number-th image where there is none."""
        if identity in self._names:
            return self._names[identity]
        name = next(name for name in self._candidates(path, number) if name not in self._owners)
        self._owners[name], self._names[identity] = identity, name
        return name

    @staticmethod
    def _candidates(path: Path | None, number: int) -> Iterator[str]:
        if path is None:
            yield from (f'image_{i:06d}' for i in itertools.count(number))
        folder = path.absolute().parent.name
        yield path.stem
        yield f'{folder}_{path.stem}'
        yield f'{folder}_{path.name.replace(".", "_")}'
        yield from (f'{path.stem}_{i}' for i in itertools.count(2))


class ImageList:
    """Images that are segmented batch after batch; each is read when its turn comes."""

    video = None

    def __init__(self, images: list, book: NameBook) -> None:
        self.images, self.book = images, book

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Query]:
        for index, image in enumerate(self.images):
            if isinstance(image, (str, PathLike)):
                path, identity, stamp = Path(image), str(Path(image).absolute()), _file_stamp(Path(image))
            else:
                path = Path(image.filename) if getattr(image, 'filename', '') else None
                stamp = _digest(pil_rgb(image, f'image {index}') if isinstance(image, Image.Image) else image)
                identity = f'{stamp} {index}'  # the same array twice is two images
            source = str(image) if isinstance(image, (str, PathLike)) else ''
            yield Query(self.book.name(identity, path, index), image, source, identity, stamp)


class Video:
    """Frames of a video, decoded one after another.

    Raises:
        ValueError: When it cannot be decoded.
    """

    def __init__(self, path: Path, book: NameBook) -> None:
        self.path = path
        reader = mmcv.VideoReader(str(path), cache_capacity=1)
        if not reader.opened or reader.frame_cnt < 1 or reader.read() is None:
            raise ValueError(
                f'The video {path} cannot be decoded. Convert it, for example: ffmpeg -i {path} '
                '-c:v libx264 -pix_fmt yuv420p converted.mp4'
            )
        self.fps = reader.fps or 25.0
        self._frames = reader.frame_cnt
        self.name = book.name(str(path.absolute()), path)

    @property
    def video(self) -> 'Video':
        """Itself: tells videos from images."""
        return self

    def __len__(self) -> int:
        """Number of frames that the file claims to have."""
        return self._frames

    def __iter__(self) -> Iterator[Query]:
        stamp = _file_stamp(self.path)
        reader = mmcv.VideoReader(str(self.path), cache_capacity=1)
        index = 0
        while (frame := reader.read()) is not None:  # (H, W, 3) BGR
            yield Query(
                f'{self.name}/{index:06d}',
                np.ascontiguousarray(frame[..., ::-1]),
                f'{self.path}#{index}',
                f'{self.path.absolute()}#{index}',
                stamp,
            )
            index += 1
        if index < self._frames:
            print_log(
                f'The video {self.path} ends after {index} of the {self._frames} frames that it claims to have: '
                'it may be cut off.',
                'current',
                logging.WARNING,
            )


def find_queries(images, book: NameBook) -> list[ImageList | Video]:
    """Everything to segment, in order; files are checked by their first bytes.

    Args:
        images (ImageLike | Sequence[ImageLike]): One or a list of: path of an image or a video; folder (its images, not
            those below); glob ('**' goes below); (H, W, 3) uint8 RGB array; PIL image.
        book (NameBook): Gives the names.

    Raises:
        FileNotFoundError: When a file is missing.
        ValueError: When a folder or glob holds no image, a file is none, or there is nothing at all.
    """
    begin_telling()
    given = list(images) if isinstance(images, Sequence) and not isinstance(images, (str, bytes)) else [images]
    sources: list[ImageList | Video] = []

    def add(image) -> None:
        if isinstance(image, Path) and image.suffix.lower() in VIDEO_SUFFIXES:
            sources.append(Video(image, book))
        elif sources and sources[-1].video is None:
            sources[-1].images.append(image)
        else:
            sources.append(ImageList([image], book))

    for item in given:
        if isinstance(item, (str, PathLike)):
            check_path(item)
            for path in _paths(item):
                if path.suffix.lower() not in VIDEO_SUFFIXES:
                    check_file(path)
                elif not path.is_file():
                    raise FileNotFoundError(f'There is no video {path}. Check the path.')
                add(path)
        elif isinstance(item, (np.ndarray, Image.Image)):
            add(item)
        else:
            raise TypeError(
                f'cannot segment a {type(item).__name__}; give paths, (H, W, 3) uint8 RGB arrays or PIL images'
            )
    if not sources:
        raise ValueError('There is no image to segment: the list is empty.')
    return sources


def _paths(given: str | PathLike) -> list[Path]:
    """The files that a path, folder or glob stands for, in natural order; what is left out of them is told."""
    path = Path(given)
    if path.is_dir():
        inside = list(path.iterdir())
        found = [p for p in inside if _is_image(p, IMAGE_SUFFIXES)]
        if not found:
            below = next((p for p in path.rglob('*') if p.suffix.lower() in IMAGE_SUFFIXES), None)
            hint = f" There are some below: try '{path}/**/*{below.suffix}'." if below else ''
            left = say_unused(_left_out(inside, found))
            raise ValueError(
                f'The folder {path} holds no image ({", ".join(IMAGE_SUFFIXES)}).{hint}'
                + (f' It holds: {left}.' if left else '')
            )
    elif any(c in str(given) for c in '*?[') and not path.exists():
        inside = [Path(p) for p in glob.glob(str(given), recursive=True)]
        found = [p for p in inside if _is_image(p, IMAGE_SUFFIXES + VIDEO_SUFFIXES)]
        if not found:
            raise ValueError(
                f'No image or video matches {given}. Check the pattern (put it in quotes in a shell; ** '
                'goes into folders below).'
            )
        inside = [p for p in inside if not p.is_dir()]
    else:
        return [path]
    left = _left_out(inside, found)
    print_log(
        f'{given}: {len(found)} images' + (f'; left out: {say_unused(left)}.' if left else '.'),
        'current',
        logging.WARNING if set(left) - {HIDDEN} else logging.INFO,
    )
    return sorted(found, key=lambda p: natural_order(str(p)))


def _is_image(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.suffix.lower() in suffixes and path.is_file() and not is_hidden(path.name)


def _left_out(inside: list[Path], found: list[Path]) -> dict[str, list[str]]:
    """Names by the reason for which they are not among the found."""
    left: dict[str, list[str]] = {}
    for path in sorted(set(inside) - set(found), key=lambda p: natural_order(p.name)):
        if is_hidden(path.name):
            reason = HIDDEN
        elif path.is_dir():
            reason = 'folders'
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            reason = 'videos (give them by name)'
        else:
            reason = 'dead links' if not path.exists() else OTHER
        left.setdefault(reason, []).append(path.name)
    return left


def _file_stamp(path: Path) -> str:
    facts = path.stat()
    return f'{facts.st_size} {facts.st_mtime_ns}'


def _digest(array: np.ndarray) -> str:
    digest = hashlib.blake2b(array.tobytes(), digest_size=12)
    digest.update(str(array.shape).encode())
    return digest.hexdigest()
