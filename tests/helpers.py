# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Small data sets that the tests write themselves."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 32, 40  # of every image
AREA = 100  # candidate_area that goes with them
BIG, SMALL = 300, 60  # pixels of a candidate, of an object below the area rule


def scenes(split: str) -> dict[str, list[tuple[int, int]]]:
    """Four images of each of 20 classes; in the fourth the next class appears too, but small."""
    images = {}
    for c in range(1, 21):
        for k in range(4):
            extra = [(c % 20 + 1, SMALL)] if k == 3 else []
            images[f'{split}_{c:02d}_{k}'] = [(c, BIG), *extra]
    return images


def draw_mask(parts: list[tuple[int, int]], size=(HEIGHT, WIDTH)) -> np.ndarray:
    """A mask in which each class covers exactly so many pixels, and four pixels are 255."""
    mask = np.zeros(size, dtype=np.uint8)
    flat, start = mask.reshape(-1), 5
    for class_id, pixels in parts:
        flat[start : start + pixels] = class_id
        start += pixels
    flat[-4:] = 255
    return mask


def write_voc(root: Path, **lists: dict[str, list[tuple[int, int]]]) -> Path:
    """Write a VOC layout with a list of images for each keyword.

    Args:
        root: Data root to make.
        **lists: List name -> {image name: [(class id, pixels), ...]}.
    """
    rng = np.random.default_rng(0)
    for folder in ('JPEGImages', 'SegmentationClassAug', 'ImageSets/Segmentation'):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for list_name, images in lists.items():
        for name, parts in images.items():
            mask = draw_mask(parts)
            image = rng.integers(0, 80, (*mask.shape, 3)) + 8 * (mask[..., None] % 21)
            Image.fromarray(image.astype(np.uint8)).save(jpeg(root, name))
            Image.fromarray(mask).save(png(root, name))
        listed = root / f'ImageSets/Segmentation/{list_name}.txt'
        listed.write_text('\n'.join(images) + '\n')
    return root


def jpeg(root: Path, name: str) -> Path:
    """Path of an image of a VOC layout."""
    return root / f'JPEGImages/{name}.jpg'


def png(root: Path, name: str) -> Path:
    """Path of a mask of a VOC layout."""
    return root / f'SegmentationClassAug/{name}.png'


def pascal(root: Path, phase: str = 'val', **kwargs) -> dict:
    """Config of a Pascal5iDataset over :func:`write_voc`."""
    return {
        **dict(
            type='Pascal5iDataset',
            data_root=str(root),
            phase=phase,
            candidate_area=AREA,
            ann_file=f'ImageSets/Segmentation/{phase}.txt',
        ),
        **kwargs,
    }


def write_class_folders(
    root: Path, names: tuple[str, ...], images: int = 11, mode: str = 'L', size: tuple[int, int] = (30, 36)
) -> Path:
    """Write ``CLASS/K.jpg`` and ``CLASS/K.png`` of (h, w) pixels: noise, a rectangle a row larger class by class."""
    rng = np.random.default_rng(0)
    for place, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for k in range(1, images + 1):
            mask = np.zeros(size, np.uint8)
            mask[5 : 15 + place, 5:20] = 255
            Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(root / name / f'{k}.jpg')
            Image.fromarray(mask).convert(mode).save(root / name / f'{k}.png')
    return root


IMAGE = dict(type='LoadFewShotImage')
LABELS = dict(type='LoadFewShotAnnotations')
PACK = dict(type='PackEpisodeInputs')
RESIZE = dict(type='ResizeLongSide', size=48)
TEST_PIPELINES = dict(query_pipeline=[IMAGE, RESIZE, LABELS, PACK], support_pipeline=[IMAGE, LABELS, RESIZE, PACK])
TRAIN_PIPELINES = dict(
    query_pipeline=[
        IMAGE,
        dict(type='LoadFewShotAnnotations', with_base=True),
        dict(type='RandomScale', ratio_range=(0.8, 1.2)),
        dict(type='ForegroundCrop', crop_size=33),
        PACK,
    ],
    support_pipeline=[IMAGE, LABELS, dict(type='ForegroundCrop', crop_size=33), PACK],
)


def load_script(path: Path) -> ModuleType:
    """A script of ``tools`` or ``demo`` as a module, without running it."""
    spec = importlib.util.spec_from_file_location(f'script_{path.stem}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
