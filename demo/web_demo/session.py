# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What one visitor of the web demo has: classes with their shots, and the results of the last run.

Knows nothing of web pages; every method raises ValueError with a text for the visitor.
"""

import io
import json
import re
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
from PIL import Image

from mmfss.apis.results import mask_from_scores
from mmfss.visualization.sheet import GIVEN, class_color, overlay_index_map, overlay_mask

from .images import limit_side, read_noted, scale_box

PICTURE_HEIGHT = 480  # at least, or the outlines of small images are too thick
Annotation = np.ndarray | tuple[int, int, int, int]  # (H, W) bool, or x1, y1, x2, y2


@dataclass(frozen=True)
class Limits:
    """What one visitor may use.

    Attributes:
        max_pixels (int): Of an uploaded image.
        max_side (int): Long side at which images are segmented, shown and their scores are kept, pixels; networks work
            on less. Downloaded masks have the size of the upload.
        max_queries (int): Images of one run; their scores stay in memory.
        max_classes (int): Classes at once.
        max_shots (int): Supports of a class.
    """

    max_pixels: int = 40_000_000
    max_side: int = 1024
    max_queries: int = 24
    max_classes: int = 10
    max_shots: int = 10


@dataclass
class SupportClass:
    """A class that a visitor has shown: its shots, its colour, and what the inferencer made of them."""

    name: str
    color: int
    images: list[np.ndarray] = field(default_factory=list)  # (H, W, 3) uint8 RGB
    annotations: list = field(default_factory=list)  # of register()
    pictures: list[np.ndarray] = field(default_factory=list)  # to look at
    registered: object = None


@dataclass(frozen=True)
class SegmentedImage:
    """A segmented image with the scores that every threshold can be applied to.

    Attributes:
        name (str): File name as the visitor knows it.
        image (np.ndarray): (h, w, 3) uint8 RGB, h and w at most ``Limits.max_side``.
        size (tuple[int, int]): (H, W) of the upload.
        scores (np.ndarray): (N, h, w) float16, foreground probability of each class.
        presence (tuple[float, ...]): N presence scores, see :attr:`mmfss.apis.SegmentationResult.presence`.
    """

    name: str
    image: np.ndarray
    size: tuple[int, int]
    scores: np.ndarray
    presence: tuple[float, ...]

    def mask(self, threshold: float, full_size: bool = False) -> np.ndarray:
        """Index map, uint8, as :func:`mmfss.apis.mask_from_scores` makes it.

        Args:
            threshold (float): Foreground probability.
            full_size (bool): (H, W) of the upload instead of (h, w). Defaults to False.
        """
        scores = self.scores
        if full_size and scores.shape[1:] != self.size:
            scores = np.stack([cv2.resize(s.astype(np.float32), self.size[::-1]) for s in scores])
        return mask_from_scores(scores, threshold)


class Session:
    """One visitor's classes and results.

    Args:
        inferencer (FewShotInferencer): Shared by all visitors.
        limits (Limits): What the visitor may use.
        lock (AbstractContextManager, optional): Held while the shared model computes.
    """

    def __init__(self, inferencer, limits: Limits | None = None, lock: AbstractContextManager | None = None) -> None:
        self.inferencer = inferencer
        self.limits = limits or Limits()
        self.lock = lock or Lock()
        self.classes: dict[str, SupportClass] = {}
        self.results: list[SegmentedImage] = []
        self.pending: list[str] = []  # uploads that wait to be marked
        self.marks: list = []  # annotation files that were dropped, parsed
        self.example: np.ndarray | None = None  # the one that is being marked
        self.legend: list[tuple[str, int]] = []  # name and colour of the classes that the results were made with
        self._folder: tempfile.TemporaryDirectory | None = None

    def add_shot(self, name: str, image: np.ndarray, annotation: Annotation) -> SupportClass:
        """Show the class ``name`` once more, or for the first time.

        Args:
            name (str): Of a known class, or a new one.
            image (np.ndarray): (H, W, 3) uint8 RGB.
            annotation (Annotation): (H, W) bool, or a box x1, y1, x2, y2 in pixels.

        Raises:
            ValueError: When the name or the annotation will not do; the classes stay as they were.
        """
        name = ' '.join(name.split())
        if not name or len(name) > 40:
            raise ValueError('Give the class a name of 1 to 40 characters first.')
        old = self.classes.get(name) or SupportClass(name, self._free_color())
        if not old.images and len(self.classes) >= self.limits.max_classes:
            raise ValueError(f'{self.limits.max_classes} classes are the most that fit. Remove one first.')
        if len(old.images) >= self.limits.max_shots:
            raise ValueError(
                f'{name} has {len(old.images)} shots already, which is the most. Use another name, or '
                'remove the class and start it again.'
            )
        image, given, region = _example(image, annotation, self.limits.max_side)
        if not region.any():
            raise ValueError('Nothing is marked on the image. Paint over the object, or give a box.')
        new = SupportClass(
            name,
            old.color,
            [*old.images, image],
            [*old.annotations, given],
            [*old.pictures, overlay_mask(image, region, GIVEN, 240)],
        )
        with self.lock:
            new.registered = self.inferencer.register(name, new.images, new.annotations)
        self.classes[name] = new
        return new

    def remove(self, name: str | None) -> None:
        """Forget a class with all its shots; results stay."""
        if name not in self.classes:
            raise ValueError('Choose the class to remove from the list first.')
        del self.classes[name]

    def segment(self, files: Sequence[tuple[str, str | Path]], batch_size: int = 4) -> Iterator[str]:
        """Segment images; the earlier results give way once there are new ones.

        Args:
            files (Sequence[tuple]): (name, path) of each upload.
            batch_size (int): Images in one forward pass. Defaults to 4.

        Yields:
            str: A line on each file that could not be used as it is, then an empty line for each finished image.

        Raises:
            ValueError: When there is no class, or no image that can be used.
        """
        if not self.classes:
            raise ValueError('Show the model a class first: load an image, mark the object, and add it.')
        if not files:
            raise ValueError('Drop the images to segment first.')
        if len(files) > self.limits.max_queries:
            raise ValueError(
                f'{len(files)} images are too many for one run; {self.limits.max_queries} is the most. '
                'demo/segment.py does folders of any size.'
            )
        names, images, sizes = [], [], []
        for name, path in files:
            image, notes = read_noted(path, name, self.limits.max_pixels)
            if image is None and len(files) == 1:
                raise ValueError(notes[0])
            yield from notes
            if image is None:
                continue
            names.append(name)
            sizes.append(image.shape[:2])
            images.append(limit_side(image, self.limits.max_side))
        if not images:
            raise ValueError('None of the files can be read as an image.')
        classes = list(self.classes.values())
        results: list[SegmentedImage] = []
        try:
            with self.lock:
                stream = self.inferencer.stream(images, [c.registered for c in classes], batch_size=batch_size)
                for result in stream:
                    i = len(results)
                    scores = np.asarray(result.scores, np.float16)
                    results.append(SegmentedImage(names[i], images[i], sizes[i], scores, result.presence))
                    yield ''
        finally:  # what was finished before an error stays
            if results:
                self.results, self.legend = results, [(c.name, c.color) for c in classes]

    def overlays(self, threshold: float) -> list[tuple[np.ndarray, str]]:
        """Pictures (h, w, 3) uint8 RGB of the last results with a caption each, without running the model.

        They are at least :data:`PICTURE_HEIGHT` high.
        """
        return [self._overlay(kept, threshold) for kept in self.results]

    def write_zip(self, threshold: float) -> Path:
        """Write the last results to a zip file that lives as long as the session.

        It holds ``masks/NAME.png`` (size of the upload; 0 is background, i the i-th class), ``overlays/NAME.jpg`` and
        ``classes.json``.

        Raises:
            ValueError: When there are no results.
        """
        if not self.results:
            raise ValueError('There is nothing to download yet. Segment some images first.')
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix='mmfss_web_')
        path = Path(self._folder.name) / 'segmentation.zip'
        palette = [0, 0, 0] + [v for _, color in self.legend for v in class_color(color)]
        about = dict(threshold=threshold, classes={i: name for i, (name, _) in enumerate(self.legend, 1)})
        with zipfile.ZipFile(path, 'w') as archive:
            for stem, kept in zip(_stems([kept.name for kept in self.results]), self.results, strict=True):
                mask = Image.fromarray(kept.mask(threshold, full_size=True)).convert('P')
                mask.putpalette(palette)
                archive.writestr(f'masks/{stem}.png', _encode(mask, 'PNG'))
                archive.writestr(
                    f'overlays/{stem}.jpg',
                    _encode(Image.fromarray(self._overlay(kept, threshold)[0]), 'JPEG', quality=90),
                )
            archive.writestr('classes.json', json.dumps(about, indent=2, ensure_ascii=False))
        return path

    def _overlay(self, kept: SegmentedImage, threshold: float) -> tuple[np.ndarray, str]:
        mask = kept.mask(threshold)
        colors = np.array([0, *(color for _, color in self.legend)])
        names = [''] * int(colors.max(initial=0))
        picture, _ = overlay_index_map(kept.image, colors[mask], names, max(kept.image.shape[0], PICTURE_HEIGHT))
        shares = [(name, (mask == i).mean()) for i, (name, _) in enumerate(self.legend, 1)]
        found = ', '.join(f'{name} {share:.1%}' for name, share in shares if share >= 0.0005)
        several = len(self.legend) > 1
        likely = [
            f'{name} {value:.2f}' if several else f'{value:.2f}'
            for (name, _), value in zip(self.legend, kept.presence, strict=True)
        ]
        return picture, f'{kept.name}: {found or "nothing found"} (presence {", ".join(likely)})'

    def _free_color(self) -> int:
        taken = {known.color for known in self.classes.values()}
        return next(i for i in range(1, len(taken) + 2) if i not in taken)


def _example(image: np.ndarray, annotation: Annotation, longest: int) -> tuple[np.ndarray, object, np.ndarray]:
    """Image, annotation as register() takes it, and region (h, w) bool to draw, all at most ``longest`` pixels long."""
    old = image.shape[:2]
    image = limit_side(image, longest)
    h, w = image.shape[:2]
    if isinstance(annotation, np.ndarray):
        region = annotation
        if (h, w) != old:  # a thin line must not vanish
            region = cv2.resize(region.astype(np.float32), (w, h), interpolation=cv2.INTER_AREA) >= 0.25
        return image, region, region
    x1, y1, x2, y2 = box = scale_box(annotation, old, (h, w))
    region = np.zeros((h, w), bool)
    region[y1:y2, x1:x2] = True
    return image, dict(box=box), region


def _stems(names: Sequence[str]) -> list[str]:
    """File names without extension that are safe in an archive and differ from each other."""
    stems: list[str] = []
    for name in names:
        stem = re.sub(r'[^\w.-]+', '_', Path(name).stem).strip('.') or 'image'
        taken, number = stem, 1
        while taken in stems:
            number += 1
            taken = f'{stem}_{number}'
        stems.append(taken)
    return stems


def _encode(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
