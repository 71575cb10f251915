# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Results as files: palette PNGs, overlays, COCO's JSON, videos; every file whole or not at all."""

import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from math import isnan
from pathlib import Path

import cv2
import mmcv
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from mmfss.datasets.transforms import CorruptFileError
from mmfss.utils.files import atomic_open, atomic_path, atomic_write, check_writable, explain_write_error

from .queries import Query, Video
from .results import SegmentationResult, palette
from .tool_formats import DEFAULT_FORMATS, check_formats, tool_files, write_class_names, write_tool_files

CURE = (
    'Finished files stay. Free some space and run the same again with skip_existing=True (command line: '
    '--skip-existing)'
)


class ResultWriter:
    """Writes results into a folder and remembers there what is finished.

    Files: ``masks/NAME.png`` (palette, value i is the i-th class), ``overlays/NAME.jpg``, ``overlays/VIDEO.mp4``,
    ``annotations.json`` (COCO's format, masks as RLE) and ``annotations.jsonl``, one line an image, written as soon as
    its files are there; ``annotations.json`` is made of it by :meth:`close`, so it holds earlier runs' images too.

    Args:
        out_dir (str | Path): The folder; :meth:`make_folder` makes it.
        class_names (Sequence[str]): The N classes.
        settings (str): Digest of whatever else decides about the result (model, banks, threshold).
        formats (Sequence[str]): Of 'png', 'coco', 'labelme' and 'yolo', see :mod:`mmfss.apis.tool_formats`. Masks and
            overlays are always written, 'coco' is ``annotations.json``. Defaults to 'png' and 'coco'.

    Raises:
        ValueError: When the folder holds results of other classes, or there is no such format.
    """

    def __init__(
        self,
        out_dir: str | Path,
        class_names: Sequence[str],
        settings: str,
        formats: Sequence[str] = DEFAULT_FORMATS,
    ) -> None:
        self.root, self.class_names, self.settings = Path(out_dir), list(class_names), settings
        self.formats = check_formats(formats)
        self._log = self.root / 'annotations.jsonl'
        self._known = {}  # name -> (identity, stamp, settings)
        for record in self._records():
            if record['classes'] != self.class_names:
                raise ValueError(
                    f'{self.root} holds results of the classes {record["classes"]}, now it would be '
                    f'{self.class_names}: choose another output folder, or remove that one'
                )
            self._known[record['name']] = (record['identity'], record['stamp'], record['settings'])
        self._palette = palette(len(self.class_names))

    def make_folder(self) -> None:
        """Make the folder, before long work starts.

        Raises:
            OSError: When it cannot be made or written.
        """
        check_writable(self.root)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                error.errno, f'the output folder cannot be made ({error.strerror}); choose another', str(self.root)
            ) from error

    @property
    def names(self) -> dict[str, str]:
        """Name -> identity of the images that are finished."""
        owners = {name: known[0] for name, known in self._known.items()}
        videos = {name.split('/')[0]: owner.rsplit('#', 1)[0] for name, owner in owners.items() if '/' in name}
        return {**owners, **videos}

    def finished(self, query: Query) -> bool:
        """Whether exactly this was done before: same image, model, banks and threshold, and its files are there."""
        wanted = (query.identity, query.stamp, self.settings)
        files = (*self.files(query.name), *tool_files(self.root, query.name, self.formats))
        return self._known.get(query.name) == wanted and all(path.is_file() for path in files)

    def files(self, name: str) -> tuple[Path, Path]:
        """Mask and overlay of an image."""
        return self.root / 'masks' / f'{name}.png', self.root / 'overlays' / f'{name}.jpg'

    def write(self, result: SegmentationResult, query: Query) -> None:
        """Write mask and overlay, then note that they are there.

        Raises:
            OSError: When that fails; the message names the file, finished files stay.
        """
        mask_path, overlay_path = self.files(result.name)
        image, png = Image.fromarray(result.mask, mode='P'), io.BytesIO()
        image.putpalette(self._palette)
        image.save(png, 'PNG')
        atomic_write(png.getvalue(), mask_path, CURE)
        _, jpeg = cv2.imencode('.jpg', result.overlay()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        atomic_write(jpeg.tobytes(), overlay_path, CURE)
        write_tool_files(self.root, result, self.formats, CURE)
        H, W = result.mask.shape
        self._append(
            dict(
                name=result.name,
                classes=self.class_names,
                identity=query.identity,
                stamp=query.stamp,
                settings=self.settings,
                image=dict(
                    file_name=result.source or f'{result.name}.png',
                    height=H,
                    width=W,
                    mask=mask_path.relative_to(self.root).as_posix(),
                    overlay=overlay_path.relative_to(self.root).as_posix(),
                    presence={
                        name: None if isnan(value) else round(value, 4)
                        for name, value in zip(self.class_names, result.presence, strict=False)
                    },
                ),
                annotations=[
                    _annotation(result, i) for i in range(1, len(self.class_names) + 1) if (result.mask == i).any()
                ],
            )
        )
        self._known[result.name] = (query.identity, query.stamp, self.settings)

    def write_video(self, video: Video, num_frames: int) -> Path:
        """The overlays of a video's frames as ``overlays/VIDEO.mp4``.

        Raises:
            OSError: When it cannot be written.
        """
        folder = self.root / 'overlays' / video.name
        path = folder.with_suffix('.mp4') if '.' not in video.name else folder.with_name(f'{video.name}.mp4')
        with atomic_path(path, CURE, keep_suffix=True) as half:  # OpenCV goes by the suffix
            mmcv.frames2video(str(folder), str(half), fps=video.fps, fourcc='mp4v', end=num_frames, show_progress=False)
            # OpenCV's writer is silent about a full disk: count what can be read again.
            written = mmcv.VideoReader(str(half)).frame_cnt if half.is_file() else 0
            if written != num_frames:
                raise OSError(
                    None, f'could not write the video: {written} of {num_frames} frames are in it. {CURE}', str(path)
                )
        return path

    def __enter__(self) -> 'ResultWriter':
        return self

    def __exit__(self, kind, error, trace) -> None:
        """Whatever ends the writing (Ctrl-C, a broken image), the JSON of what is finished is made."""
        try:
            self.close()
        except OSError:
            if kind is None:
                raise  # else the first error counts, and the next run makes the JSON
        if isinstance(error, CorruptFileError):
            raise CorruptFileError(
                f'{error} Finished files stay: the same again with skip_existing=True (command '
                'line: --skip-existing) goes on from there.'
            ) from error

    def close(self) -> None:
        """Make ``annotations.json`` of all that is finished, and the lists of class names that formats need.

        Raises:
            OSError: When they cannot be written; the next run makes them.
        """
        write_class_names(self.root, self.class_names, self.formats, CURE)
        path = self.root / 'annotations.json'
        if 'coco' not in self.formats and not path.exists():  # an earlier one is kept true
            return
        categories = [dict(id=i, name=name) for i, name in enumerate(self.class_names, 1)]
        with atomic_open(path, CURE) as stream:
            stream.write(f'{{"categories": {json.dumps(categories)},\n"images": ['.encode())
            for index, record in enumerate(self._records()):
                image = dict(id=index + 1, **record['image'])
                stream.write(f'{"," if index else ""}\n{json.dumps(image)}'.encode())
            stream.write(b'],\n"annotations": [')
            number = 0
            for index, record in enumerate(self._records()):
                for annotation in record['annotations']:
                    full = dict(id=number + 1, image_id=index + 1, **annotation)
                    stream.write(f'{"," if number else ""}\n{json.dumps(full)}'.encode())
                    number += 1
            stream.write(b']}\n')

    def _records(self) -> Iterator[dict]:
        """The last record of each image whose mask is there, one at a time; a line cut off by a kill is passed over."""
        if not self._log.is_file():
            return
        last = {}
        with open(self._log, 'rb') as lines:
            for number, line in enumerate(lines):
                if (record := _record(line)) is not None:
                    last[record['name']] = number
        kept = set(last.values())
        with open(self._log, 'rb') as lines:
            for number, line in enumerate(lines):
                if number in kept:
                    record = _record(line)
                    if os.path.isfile(self.root / record['image']['mask']):
                        yield record

    def _append(self, record: dict) -> None:
        line = json.dumps(record).encode() + b'\n'
        size = self._log.stat().st_size if self._log.is_file() else 0
        try:
            with open(self._log, 'ab') as stream:
                if size and not self._ends_with_newline():
                    stream.write(b'\n')  # a kill cut the last line off
                stream.write(line)
                stream.flush()
        except OSError as error:
            with suppress(OSError):
                os.truncate(self._log, size)
            raise OSError(error.errno, explain_write_error(error, self._log, CURE), str(self._log)) from error

    def _ends_with_newline(self) -> bool:
        with open(self._log, 'rb') as stream:
            stream.seek(-1, os.SEEK_END)
            return stream.read(1) == b'\n'


def _record(line: bytes) -> dict | None:
    """A line that :meth:`ResultWriter.write` wrote; None for one that a kill cut off, or somebody changed."""
    with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        record = json.loads(line)
        texts = [record[key] for key in ('name', 'identity', 'stamp', 'settings')]
        texts += [*record['classes'], record['image']['mask']]
        parts = [record['image'], *record['annotations']]
        numbered = any(key in part for part in parts for key in ('id', 'image_id'))
        kinds = all(isinstance(text, str) for text in texts) and all(isinstance(part, dict) for part in parts)
        if kinds and isinstance(record['classes'], list) and not numbered:
            return record
    return None


def digest_of(settings: list) -> str:
    """Short digest of plain values, such as a writer's ``settings``."""
    return hashlib.blake2b(json.dumps(settings).encode(), digest_size=8).hexdigest()


def _annotation(result: SegmentationResult, index: int) -> dict:
    """COCO's entry of one class in one image; ``score`` is the mean probability inside."""
    region = result.mask == index
    rle = coco_mask.encode(np.asfortranarray(region, np.uint8))
    return dict(
        category_id=index,
        segmentation=dict(size=rle['size'], counts=rle['counts'].decode()),
        area=int(region.sum()),
        bbox=[float(v) for v in coco_mask.toBbox(rle)],
        iscrowd=0,
        score=round(float(result.scores[index - 1][region].mean(dtype=np.float64)), 4),
    )
