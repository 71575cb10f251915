# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A file or folder of annotations, and the image file that each of them belongs to."""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from mmfss.datasets import image_headers
from mmfss.datasets.annotations import AnnotationError, read_file
from mmfss.datasets.annotations.kinds import is_image
from mmfss.datasets.annotations.loading import decode_text, read_bytes, relative_name, stem
from mmfss.datasets.annotations.objects import AnnotatedImage, AnnotationFile
from mmfss.datasets.annotations.reading import check_size, common_ending
from mmfss.datasets.annotations.yolo import NAME_FILES, looks_like_yolo
from mmfss.utils.wording import listed

from .files import PreparationError

IMAGES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.gif', '.jp2')
_LABELS = ('.json', '.xml', '.npy')
_TWINS = dict(labels='images', masks='images', annotations='images')  # folders that lie beside the one of the images


@dataclass(frozen=True)
class AnnotatedFile:
    """An image file with its objects.

    Args:
        path (Path): The image.
        name (str): Below the folder of the images, without suffix.
        source (str): The annotation file, for errors.
        image (AnnotatedImage): Its objects; the size is the image's.
    """

    path: Path
    name: str
    source: str
    image: AnnotatedImage


def read_sources(source: Path, images: Path | None = None) -> tuple[list[AnnotationFile], list[Path]]:
    """Every annotation file at ``source``, and the files there that are none.

    Args:
        source (Path): A file, or a folder that is searched with those below it.
        images (Path, optional): Folder of the images; where it is another one, images at ``source`` are taken for index
            masks.

    Raises:
        PreparationError: When there is none, or one cannot be read.
    """
    if not source.exists():
        raise PreparationError(f'{source} does not exist. Give an annotation file, or a folder of them.')
    there = [source] if source.is_file() else _below(source)
    found = [path for path in there if path.suffix.lower() in _LABELS or _is_yolo(path)] if source.is_dir() else there
    if not found and images is not None and images.resolve() != source.resolve():
        found = [path for path in there if path.suffix.lower() in IMAGES and is_image(path)]
    if not found:
        raise PreparationError(
            f'{source} holds no annotation (.json, .xml, .npy, YOLO .txt). Index masks need `--images DIR`, the folder '
            'of their images.'
        )
    taken = set(found)
    others = [p for p in there if p not in taken and p.suffix.lower() not in IMAGES and p.name not in NAME_FILES]
    try:
        return [read_file(path) for path in found], others
    except (AnnotationError, OSError) as error:
        raise PreparationError(str(error)) from error


def match_images(
    files: Sequence[AnnotationFile], folder: Path, skip: bool = False
) -> tuple[list[AnnotatedFile], list[str]]:
    """The image file of every annotated image; objects of several files for one image are joined.

    Args:
        files (Sequence[AnnotationFile]): Annotation files.
        folder (Path): Searched for the images, with those below it.
        skip (bool): Leave out images that are missing or do not fit.

    Returns:
        tuple: What was found, and why others were left out.

    Raises:
        PreparationError: When an image is missing, its name fits several, or it has another size than annotated; not
            with ``skip``.
    """
    by_stem = defaultdict(list)
    for path in _below(folder):
        if path.suffix.lower() in IMAGES:
            by_stem[path.stem].append(path)
    found: dict[Path, AnnotatedFile] = {}
    missing, wrong = [], []
    for file in files:
        for image in file.images:
            name = image.name or Path(file.path).name
            try:
                path = _find(file, name, by_stem)
                if path is None:
                    missing.append(f'{name} of {file.path}')
                    continue
                size = upright_size(path)
                check_size(image, size, file.path, str(path))
            except AnnotationError as error:
                wrong.append(str(error))
                continue
            place = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
            objects = (*found[path].image.objects, *image.objects) if path in found else image.objects
            found[path] = AnnotatedFile(
                path, stem(place.as_posix()), file.path, replace(image, size=size, objects=objects)
            )
    if missing and not skip:
        raise PreparationError(
            f'{len(missing)} annotated images are not in {folder}: {listed(missing, 3)}. Give their folder: '
            '--images DIR, or leave them out: --skip.'
        )
    if wrong and not skip:
        raise PreparationError(
            f'{len(wrong)} annotated images cannot be used, the first: {wrong[0]} `--skip` leaves them out.'
        )
    return list(found.values()), [*wrong, *(f'the image {name} is not in {folder}.' for name in missing)]


def upright_size(path: Path) -> tuple[int, int]:
    """Height and width of an image as it is decoded, turned as the camera noted.

    Raises:
        AnnotationError: When it cannot be read.
    """
    try:
        return image_headers.upright_size(path)
    except Exception as error:  # each decoder raises its own kind
        raise AnnotationError(f'the image {path} cannot be read ({error}). Fetch or save it again.') from error


def _below(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise PreparationError(f'The folder {folder} does not exist. Check the path.')
    places = (
        Path(base, name)
        for base, folders, names in os.walk(folder)
        if not folders.sort()  # walks in this order
        for name in sorted(names)
    )
    return [path for path in places if not any(p.startswith('.') for p in path.relative_to(folder).parts)]


def _is_yolo(path: Path) -> bool:
    if path.suffix.lower() != '.txt' or path.name in NAME_FILES:
        return False
    text = decode_text(read_bytes(path))
    if text.strip():
        return looks_like_yolo(text)
    return 'labels' in path.parent.parts or any(path.with_suffix(suffix).is_file() for suffix in IMAGES)


def _find(file: AnnotationFile, name: str, by_stem: dict[str, list[Path]]) -> Path | None:
    """The image of a name: the file beside a labelme file, else the one whose folders agree best."""
    if file.kind == 'labelme':
        beside = Path(file.path).parent / name.replace('\\', '/')
        if beside.is_file():
            return next((p for p in by_stem[beside.stem] if p.samefile(beside)), beside)
    parts = PurePosixPath(relative_name(name, file.path)).parts
    if file.kind not in ('COCO', 'CVAT'):  # a file an image: its own place says more than what was noted in it
        parts = (*Path(file.path).absolute().parts[1:-1], parts[-1])
    parts = tuple(_TWINS.get(part, part) for part in parts)
    candidates = by_stem.get(PurePosixPath(parts[-1]).stem, [])
    ranks = [(path.name == parts[-1], common_ending(path.absolute().parts[:-1], parts[:-1])) for path in candidates]
    best = [path for path, rank in zip(candidates, ranks, strict=True) if rank == max(ranks)]
    if len(best) > 1:
        raise AnnotationError(
            f'the image {name} of {file.path} may be {len(best)} files: {listed(best, 3)}. Give the folder of the '
            'right ones: --images DIR.'
        )
    return best[0] if best else None
