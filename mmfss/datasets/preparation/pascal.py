# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""PASCAL-5i from VOC 2012's ``trainval`` and SBD: one mask folder and the published lists.

An image of VOC's segmentation set keeps VOC's mask (255 at object borders); the other images of SBD
(Hariharan et al. 2011) get theirs from ``cls/ID.mat``, which has no 255. Together 12,031 masks.

The published training list of 5,953 (OSLSM, PFENet, BAM): the images of SBD that are in VOC's
``ImageSets/Main/train.txt``, sorted (5,623, which SBD's site offers as ``train_noval.txt``), then the rest of
``ImageSets/Segmentation/train.txt`` (330).
"""

import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from scipy.io import loadmat

from mmfss.utils.files import atomic_path

from .files import (
    PreparationError,
    finished_stems,
    need_files,
    need_space,
    read_list,
    run_jobs,
    save_index_png,
    save_names,
    unpack,
)

MASKS = 'SegmentationClassAug'
BYTES_PER_MASK = 8192  # with the file system's blocks; they are 3 KB on average
VOC_ROOTS = ('.', 'VOC2012', 'VOCdevkit/VOC2012')
SBD_ROOTS = ('.', 'dataset', 'benchmark_RELEASE/dataset', 'benchmark/benchmark_RELEASE/dataset')
VOC_PARTS = ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation', 'ImageSets/Main')


def prepare_pascal(voc: Path, sbd: Path, out: Path | None = None, *, workers: int | None = None) -> dict[str, int]:
    """Make ``SegmentationClassAug`` and the lists; after an interruption the same call resumes.

    Args:
        voc (Path): ``VOCtrainval_11-May-2012.tar`` or the folder it was unpacked to.
        sbd (Path): SBD's ``benchmark.tgz`` or the folder it was unpacked to.
        out (Path, optional): Data root to make from a VOC archive; a VOC folder is its own data root.
        workers (int, optional): Processes, None for one a core.

    Returns:
        dict: Names in each list that was written.

    Raises:
        PreparationError: When a download is wrong, partial or cut off.
    """
    root = _voc_root(Path(voc), out)
    boxes = _sbd_root(Path(sbd), root)
    segmentation = root / 'ImageSets/Segmentation'
    train, val = (read_list(segmentation / f'{name}.txt') for name in ('train', 'val'))
    lists = make_lists(train, val, _sbd_names(boxes), _main_train(root, boxes))
    own = sorted({*train, *val})
    added = sorted(set(lists['trainaug']) - set(own))
    need_files('VOC images', root / 'JPEGImages', [*own, *added], '.jpg')
    need_files('VOC masks', root / 'SegmentationClass', own, '.png')
    need_files('SBD masks', boxes / 'cls', added, '.mat')

    masks = root / MASKS
    need_space(masks, BYTES_PER_MASK * (len(own) + len(added)))
    there = finished_stems(masks)
    jobs = [
        (root / f'SegmentationClass/{name}.png', root / f'JPEGImages/{name}.jpg', masks / f'{name}.png')
        for name in own
        if name not in there
    ]
    jobs += [
        (boxes / f'cls/{name}.mat', root / f'JPEGImages/{name}.jpg', masks / f'{name}.png')
        for name in added
        if name not in there
    ]
    run_jobs(convert_mask, jobs, masks, workers=workers, name_of=lambda job: str(job[0]))
    for name, names in lists.items():
        save_names(names, segmentation / f'{name}.txt')
    return {name: len(names) for name, names in lists.items()}


def make_lists(
    train: Sequence[str], val: Sequence[str], sbd: Sequence[str], main_train: Sequence[str]
) -> dict[str, list[str]]:
    """The training lists, without any image of VOC's ``val``.

    Args:
        train (Sequence[str]): VOC's Segmentation/train.
        val (Sequence[str]): VOC's Segmentation/val.
        sbd (Sequence[str]): Every image of SBD.
        main_train (Sequence[str]): VOC's Main/train, or SBD's train_noval.

    Returns:
        dict: ``train_5953`` in published order, ``trainaug`` (10,582) sorted.
    """
    first = sorted({*sbd} & {*main_train} - {*val})
    known = set(first)
    return dict(
        train_5953=[*first, *(name for name in train if name not in known)],
        trainaug=sorted(({*sbd} | {*train}) - {*val}),
    )


def convert_mask(job: tuple[Path, Path, Path]) -> None:
    """Make one mask from VOC's PNG (copied) or SBD's .mat.

    Args:
        job (tuple[Path, Path, Path]): Source, its image, the mask to make.

    Raises:
        PreparationError: When the source cannot be read, does not fit its image, or holds labels over 20.
    """
    source, image, target = job
    try:
        labels = read_sbd(source) if source.suffix == '.mat' else _read_png(source)
        with Image.open(image) as picture:
            size = (picture.height, picture.width)
    except PreparationError:
        raise
    except Exception as error:  # Pillow and SciPy raise many kinds
        raise PreparationError(
            f'{source} or {image} cannot be read ({type(error).__name__}: {error}). Fetch it again.'
        ) from error
    if labels.ndim != 2 or labels.shape != size:
        raise PreparationError(f'{source} has the size {labels.shape}, its image {image} has {size} (h, w).')
    strange = np.setdiff1d(labels, [*range(21), 255])
    if len(strange):
        raise PreparationError(f'{source} holds the labels {strange.tolist()}; VOC and SBD have 0 to 20 and 255.')
    if source.suffix == '.mat':
        save_index_png(labels, target)
    else:
        with atomic_path(target, sync=False) as half:
            shutil.copyfile(source, half)


def read_sbd(path: Path) -> np.ndarray:
    """The class labels (h, w) of a ``cls/ID.mat``: ``GTcls.Segmentation``."""
    content = loadmat(path, simplify_cells=True)
    if 'GTcls' not in content:
        raise PreparationError(f"{path} has no GTcls: take the files of SBD's folder `cls`, not `inst`.")
    return np.asarray(content['GTcls']['Segmentation'])


def _read_png(path: Path) -> np.ndarray:
    with Image.open(path) as mask:
        if mask.mode not in ('P', 'L'):
            raise PreparationError(
                f'{path} has the mode {mask.mode}, not palette or grey: another program has '
                'saved it again. Take the file of the VOC archive.'
            )
        return np.array(mask)


def _voc_root(voc: Path, out: Path | None) -> Path:
    """The data root; an archive is unpacked to it."""
    if voc.is_file():
        root = Path(out or 'data/VOCdevkit/VOC2012')
        unpack(voc, _below('VOC2012', VOC_PARTS), root)
    elif voc.is_dir():
        found = [voc / r for r in VOC_ROOTS if (voc / r / 'ImageSets/Segmentation').is_dir()]
        if not found:
            raise PreparationError(
                f'{voc} holds no VOC2012/ImageSets/Segmentation: give the archive '
                'VOCtrainval_11-May-2012.tar or the folder that it was unpacked to.'
            )
        root = found[0]
        if out is not None and Path(out).resolve() != root.resolve():
            raise PreparationError(f'`--out {out}` is for an archive; the folder {root} is used where it is.')
    else:
        raise PreparationError(f'{voc} does not exist: give VOCtrainval_11-May-2012.tar or its unpacked folder.')
    for part in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        if not (root / part).is_dir():
            raise PreparationError(f'{voc} holds no {part}: it is not VOC2012 trainval, or only a part of it.')
    return root


def _sbd_root(sbd: Path, root: Path) -> Path:
    """The folder with ``cls`` and the lists; an archive is unpacked beside VOC's folders."""
    if sbd.is_file():
        unpack(sbd, _below('dataset', ('cls', 'train.txt', 'val.txt', 'train_noval.txt')), root / 'SBD')
        sbd = root / 'SBD'
    found = [sbd / r for r in SBD_ROOTS if (sbd / r / 'cls').is_dir()]
    if not found:
        raise PreparationError(
            f"{sbd} holds no folder `cls` of .mat files: give SBD's benchmark.tgz or the folder "
            'that it was unpacked to.'
        )
    return found[0]


def _below(top: str, parts: Sequence[str]):
    """Chooses the members of an archive whose path behind the folder ``top`` begins with one of the parts."""

    def wanted(member: PurePosixPath) -> str | None:
        if top not in member.parts:
            return None
        path = '/'.join(member.parts[member.parts.index(top) + 1 :])
        return path if any(path == part or path.startswith(f'{part}/') for part in parts) else None

    return wanted


def _sbd_names(boxes: Path) -> list[str]:
    return sorted({*read_list(boxes / 'train.txt'), *read_list(boxes / 'val.txt')})


def _main_train(root: Path, boxes: Path) -> list[str]:
    """VOC's Main/train, else SBD's train_noval: both give the same 5,623 images of SBD."""
    places = (root / 'ImageSets/Main/train.txt', boxes / 'train_noval.txt')
    for place in places:
        if place.is_file():
            return read_list(place)
    raise PreparationError(
        f'Neither {places[0]} nor {places[1]} is there: the training list needs one of them. Unpack '
        'ImageSets/Main from the VOC archive too.'
    )
