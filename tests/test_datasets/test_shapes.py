# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The generated data set: reproducible, complete, resumable, and readable by its data set class."""

import hashlib
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmfss.datasets import ShapesDataset
from mmfss.datasets.shapes import SHAPE_CLASS_NAMES
from mmfss.datasets.synthetic import SHAPE_CLASSES, ShapesSpec, generate_shapes, render_scene
from mmfss.datasets.synthetic.patterns import PATTERNS
from mmfss.datasets.synthetic.preview import preview_sheet
from mmfss.datasets.synthetic.scene import MIN_CLASS_AREA
from mmfss.datasets.synthetic.silhouettes import NEUTRAL_SILHOUETTES, SILHOUETTES
from mmfss.datasets.synthetic.writer import voc_palette

SPEC = ShapesSpec(train=40, val=20, size=64, seed=3)


@pytest.fixture(scope='module')
def shapes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('data') / 'shapes'
    assert generate_shapes(root, SPEC, workers=0)
    return root


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


def masks(root: Path, split: str) -> list[np.ndarray]:
    names = (root / f'ImageSets/Segmentation/{split}.txt').read_text().split()
    return [np.asarray(Image.open(root / f'SegmentationClassAug/{name}.png')) for name in names]


def test_layout(shapes):
    names = {s: (shapes / f'ImageSets/Segmentation/{s}.txt').read_text().split() for s in ('train', 'val')}
    assert [len(names['train']), len(names['val'])] == [SPEC.train, SPEC.val]
    for name in names['train'] + names['val']:
        image = Image.open(shapes / f'JPEGImages/{name}.jpg')
        mask = Image.open(shapes / f'SegmentationClassAug/{name}.png')
        assert image.mode == 'RGB' and image.size == mask.size == (SPEC.size, SPEC.size)
        assert mask.mode == 'P' and mask.getpalette()[:6] == [0, 0, 0, 128, 0, 0]
        assert set(np.unique(mask)) <= {*range(21), 255}
    files = [path for path in shapes.rglob('*') if path.is_file()]
    assert len(files) == 2 * (SPEC.train + SPEC.val) + 3
    assert not shapes.with_name('shapes.partial').exists()


def test_every_class_is_there_and_large_enough(shapes):
    for split, per_class in (('train', 2), ('val', 1)):
        count = Counter()
        for mask in masks(shapes, split):
            labels, pixels = np.unique(mask, return_counts=True)
            area = {int(c): n / mask.size for c, n in zip(labels, pixels, strict=True)}
            present = [c for c in area if 0 < c < 255]
            assert 1 <= len(present) <= 3
            assert all(MIN_CLASS_AREA <= area[c] <= 0.45 for c in present)
            assert area[0] > 0.3 and area.get(255, 0) < 0.25
            count.update(present)
        assert all(count[c] >= per_class for c in range(1, 21)), count


def test_same_seed_same_bytes_for_any_worker_count(shapes, tmp_path):
    assert generate_shapes(tmp_path / 'again', SPEC, workers=2)
    assert digests(tmp_path / 'again') == digests(shapes)


def test_another_seed_gives_other_pictures(shapes, tmp_path):
    generate_shapes(tmp_path / 'other', ShapesSpec(train=40, val=20, size=64, seed=4), workers=0)
    ours, theirs = digests(shapes), digests(tmp_path / 'other')
    assert ours.keys() == theirs.keys()
    pictures = [name for name in ours if name.endswith(('.jpg', '.png'))]
    assert all(ours[name] != theirs[name] for name in pictures)


def test_interrupted_run_goes_on_and_ends_with_the_same_bytes(shapes, tmp_path):
    root, seen = tmp_path / 'shapes', []

    def interrupt(done: int, total: int) -> None:
        if done >= 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_shapes(root, SPEC, workers=0, progress=interrupt)
    assert not root.exists()
    kept = root.with_name('shapes.partial') / 'JPEGImages/train_00000.jpg'
    before = kept.stat().st_mtime_ns
    assert generate_shapes(root, SPEC, workers=0, progress=lambda *state: seen.append(state))
    assert (root / 'JPEGImages/train_00000.jpg').stat().st_mtime_ns == before
    assert digests(root) == digests(shapes) and seen[-1] == (60, 60)


def test_present_set_is_reused_and_other_parameters_are_refused(shapes, tmp_path):
    root = tmp_path / 'shapes'
    shutil.copytree(shapes, root)
    before = digests(root)
    assert not generate_shapes(root, SPEC)
    smaller = ShapesSpec(train=20, val=20, size=64, seed=3)
    with pytest.raises(FileExistsError, match='--overwrite'):
        generate_shapes(root, smaller, workers=0)
    assert digests(root) == before
    assert generate_shapes(root, smaller, workers=0, overwrite=True)
    assert len(list((root / 'JPEGImages').iterdir())) == 40


def test_foreign_folder_is_never_replaced(tmp_path):
    (tmp_path / 'mine.txt').write_text('dear')
    with pytest.raises(FileExistsError, match='not made by this generator'):
        generate_shapes(tmp_path, SPEC, overwrite=True)
    assert (tmp_path / 'mine.txt').read_text() == 'dear'


def test_full_disk_is_told_before_the_work(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage._replace(free=1000))
    with pytest.raises(OSError, match='MiB free'):
        generate_shapes(tmp_path / 'shapes', SPEC, workers=0)


@pytest.mark.parametrize('wrong', [dict(train=5), dict(val=0), dict(size=8), dict(seed=-1)])
def test_spec_is_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ShapesSpec(**wrong)


def test_classes_are_combinations():
    pairs = [(shape.silhouette, shape.pattern) for shape in SHAPE_CLASSES]
    assert len(set(pairs)) == 20
    for fold in range(4):
        novel = pairs[5 * fold : 5 * fold + 5]
        base = [pair for pair in pairs if pair not in novel]
        # every part of a novel class occurs in some base class, never both together
        assert {s for s, _ in novel} <= {s for s, _ in base}
        assert {p for _, p in novel} <= {p for _, p in base}


def test_palette_is_vocs():
    from mmseg.datasets import PascalVOCDataset

    ours = np.reshape(voc_palette(), (256, 3))[:21]
    assert np.array_equal(ours, PascalVOCDataset.METAINFO['palette'])


@pytest.mark.parametrize('name', PATTERNS)
def test_patterns_stay_in_range_and_vary(name):
    v, u = np.mgrid[-1:1:40j, -1:1:40j]
    field = PATTERNS[name](np.random.default_rng(0), u, v, 0.4)
    assert field.shape == u.shape and field.min() >= 0 and field.max() <= 1 and field.std() > 0.15


@pytest.mark.parametrize('draw', [*SILHOUETTES.values(), *NEUTRAL_SILHOUETTES])
def test_silhouettes_vary_within_a_class(draw):
    first, second = (np.concatenate(draw(np.random.default_rng(seed))) for seed in (1, 2))
    assert np.abs(first).max() < 1.6 and np.isfinite(first).all()
    assert first.shape != second.shape or not np.allclose(first, second)


def test_scene_shows_exactly_the_wanted_classes():
    image, label = render_scene(np.random.default_rng(0), (2, 20, 7), size=96)
    assert image.shape == (96, 96, 3) and image.dtype == label.dtype == np.uint8
    assert set(np.unique(label)) == {0, 2, 7, 20, 255}


def test_contact_sheet(shapes):
    sheet = preview_sheet(shapes)
    assert sheet.dtype == np.uint8 and sheet.ndim == 3 and sheet.std() > 10


@pytest.mark.parametrize('fold', range(4))
def test_dataset_class_reads_it(shapes, fold):
    dataset = ShapesDataset(
        data_root=str(shapes),
        ann_file='ImageSets/Segmentation/val.txt',
        fold=fold,
        phase='val',
        candidate_area=int(0.02 * SPEC.size**2),
    )
    assert dataset.metainfo['class_names'] == ('background', *SHAPE_CLASS_NAMES)
    assert dataset.novel_class_ids == tuple(range(5 * fold + 1, 5 * fold + 6))
    assert len(dataset) >= 5 and all(len(dataset.candidates(c)) for c in dataset.novel_class_ids)
