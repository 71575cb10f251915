# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Writes the generated data set to disk in the PASCAL VOC layout, resumably and all or nothing.

Every image is a pure function of (seed, split, index); worker count and interruptions leave no
trace in the files. They are collected in ``<root>.partial``, which takes its final name when the
last file is there.
"""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mmfss.utils.files import atomic_path, remove_leftovers
from mmfss.utils.workers import run_in_workers

from .catalog import SHAPE_CLASSES
from .scene import render_scene

GENERATOR_VERSION = 1  # raise it when equal parameters give other pictures
SPLITS = ('train', 'val')
FOLDERS = ('JPEGImages', 'SegmentationClassAug', 'ImageSets/Segmentation')
DISK_RESERVE = 64 * 2**20  # bytes that stay free


@dataclass(frozen=True)
class ShapesSpec:
    """What determines the data set, byte for byte (given the versions of numpy, OpenCV, Pillow).

    Args:
        train (int): Number of training images.
        val (int): Number of validation images.
        size (int): Side of the square images in pixels.
        seed (int): Non-negative integer.

    Raises:
        ValueError: When a number is out of range.
    """

    train: int = 1200
    val: int = 450
    size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        for split in SPLITS:
            if getattr(self, split) < len(SHAPE_CLASSES):
                raise ValueError(
                    f'ShapesSpec: {split}={getattr(self, split)} images cannot show all '
                    f'{len(SHAPE_CLASSES)} classes; use --{split} {len(SHAPE_CLASSES)} or more'
                )
        if not 48 <= self.size <= 1024:
            raise ValueError(f'ShapesSpec: size={self.size} is not within 48..1024 pixels; change --size')
        if self.seed < 0:
            raise ValueError(f'ShapesSpec: seed={self.seed} is negative; change --seed')

    def identity(self) -> dict:
        """Content of ``meta.json``: equal identities mean equal data sets."""
        return dict(generator='mmfss shapes', version=GENERATOR_VERSION, **asdict(self))


def image_id(split: str, index: int) -> str:
    return f'{split}_{index:05d}'


def make_example(spec: ShapesSpec, split: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (size, size, 3) uint8 RGB and label map (size, size) uint8 number ``index`` of a split.

    The first class walks through all classes, so each is in at least every twentieth image; up to
    two others are drawn.
    """
    rng = np.random.default_rng([spec.seed, SPLITS.index(split), index])
    first = index % len(SHAPE_CLASSES) + 1
    others = [c for c in range(1, len(SHAPE_CLASSES) + 1) if c != first]
    extra = rng.choice(others, rng.choice([0, 1, 2], p=[0.4, 0.4, 0.2]), replace=False)
    return render_scene(rng, (first, *(int(c) for c in extra)), spec.size)


def voc_palette() -> list[int]:
    """The 256 colours of PASCAL VOC's masks, flat: bits 3k..3k+2 of an index are RGB's bits 7-k."""
    return [
        sum(((index >> (3 * k + channel)) & 1) << (7 - k) for k in range(3))
        for index in range(256)
        for channel in range(3)
    ]


def generate_shapes(
    root: str | Path,
    spec: ShapesSpec,
    *,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Generates the data set under ``root`` unless it is already there.

    Args:
        root (str | Path): Folder to create; ``<root>/JPEGImages`` and so on, as ``VOCdevkit/VOC2012``.
        spec (ShapesSpec): What to generate.
        overwrite (bool): Replace a generated data set of other parameters.
        workers (int, optional): Processes; ``None`` for one a core, 0 to stay in this process.
        progress (Callable[[int, int], None], optional): Called with (images done, images in all) now and then.

    Returns:
        Whether anything was written (``False``: the same data set was there).

    Raises:
        FileExistsError: When ``root`` holds something else, or other parameters and not ``overwrite``.
        OSError: When there is not enough free disk space.
        WorkerDied: When a process was killed; the same again goes on.
    """
    root = Path(root)
    found = read_identity(root)
    if found == spec.identity():
        return False
    if found is None and root.exists() and any(root.iterdir()):
        raise FileExistsError(
            f'{root} exists and was not made by this generator (no {root / "meta.json"}); '
            'it is left alone: choose another --out'
        )
    if found is not None and not overwrite:
        raise FileExistsError(
            f'{root} holds a generated data set with other parameters: {found}, wanted '
            f'{spec.identity()}; pass --overwrite to replace it or choose another --out'
        )
    partial_root = root.with_name(root.name + '.partial')
    _prepare(partial_root, spec)
    _write_images(partial_root, spec, workers, progress)
    for split in SPLITS:
        ids = [image_id(split, i) for i in range(getattr(spec, split))]
        (partial_root / 'ImageSets/Segmentation' / f'{split}.txt').write_text('\n'.join(ids) + '\n')
    if root.exists():
        shutil.rmtree(root)
    os.replace(partial_root, root)
    return True


def read_identity(root: Path) -> dict | None:
    """Identity of the data set under ``root``, or ``None`` when there is none of ours."""
    try:
        identity = json.loads((root / 'meta.json').read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    return identity if isinstance(identity, dict) and identity.get('generator') == 'mmfss shapes' else None


def _prepare(partial_root: Path, spec: ShapesSpec) -> None:
    """Keeps what an interrupted run with equal parameters left, and checks the disk's space."""
    if partial_root.exists() and read_identity(partial_root) != spec.identity():
        shutil.rmtree(partial_root)
    for folder in FOLDERS:
        (partial_root / folder).mkdir(parents=True, exist_ok=True)
        remove_leftovers(partial_root / folder)
    needed = (spec.train + spec.val) * (spec.size**2 + 4096) + DISK_RESERVE
    free = shutil.disk_usage(partial_root).free
    if free < needed:
        raise OSError(
            f'{partial_root}: {free / 2**20:.0f} MiB free, about {needed / 2**20:.0f} MiB '
            'needed for the generated data set; free some space or choose another --out'
        )
    (partial_root / 'meta.json').write_text(json.dumps(spec.identity(), indent=1) + '\n')


def _write_images(
    root: Path, spec: ShapesSpec, workers: int | None, progress: Callable[[int, int], None] | None
) -> None:
    jobs = [(split, index) for split in SPLITS for index in range(getattr(spec, split))]
    write, name = partial(_write_example, root, spec), lambda job: image_id(*job)
    with closing(run_in_workers(write, jobs, workers, name, partial(cv2.setNumThreads, 0))) as results:
        for done, _ in enumerate(results, 1):
            if progress is not None and (done % 10 == 0 or done == len(jobs)):
                progress(done, len(jobs))


def _write_example(root: Path, spec: ShapesSpec, job: tuple[str, int]) -> None:
    name = image_id(*job)
    image_path, mask_path = (
        root / 'JPEGImages' / f'{name}.jpg',
        root / 'SegmentationClassAug' / f'{name}.png',
    )
    if image_path.exists() and mask_path.exists():
        return
    image, label = make_example(spec, *job)
    mask = Image.fromarray(label)
    mask.putpalette(voc_palette())  # makes an index image of it
    _save(mask, mask_path, format='PNG')
    quality = int(np.random.default_rng([spec.seed, SPLITS.index(job[0]), job[1], 1]).integers(55, 93))
    _save(Image.fromarray(image), image_path, format='JPEG', quality=quality)


def _save(image: Image.Image, path: Path, **options) -> None:
    with atomic_path(path, sync=False) as half:
        image.save(half, **options)
