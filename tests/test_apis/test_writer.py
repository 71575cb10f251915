# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Files of results: whole, complete after interruptions, in formats that others read."""

import errno
import json
import os
import weakref
from pathlib import Path

import api_toys as toys
import cv2
import mmcv
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from test_queries import write_video

import mmfss.apis.inferencer as module
from mmfss.apis.results import palette
from mmfss.apis.writer import ResultWriter
from mmfss.datasets.transforms import CorruptFileError


@pytest.fixture
def folder(tmp_path):
    return toys.photos(tmp_path / 'in', 4)


@pytest.fixture
def out(tmp_path):
    return tmp_path / 'out'


def files(out: Path) -> set[str]:
    return {p.relative_to(out).as_posix() for p in out.rglob('*') if p.is_file()}


def expected_files(*names: str) -> set[str]:
    return {
        'annotations.json',
        'annotations.jsonl',
        *(f'masks/{name}.png' for name in names),
        *(f'overlays/{name}.jpg' for name in names),
    }


def images_of(out: Path) -> list[str]:
    return [Path(image['mask']).stem for image in json.loads((out / 'annotations.json').read_text())['images']]


def test_masks_overlays_and_coco(inferencer, gear, wheel, folder, out, capsys):
    results = inferencer(folder, [gear, wheel], out_dir=out)
    assert files(out) == expected_files('0', '1', '2', '3')
    for result in results:
        mask = Image.open(out / f'masks/{result.name}.png')
        assert mask.mode == 'P' and mask.getpalette()[:9] == palette(2) and np.array_equal(mask, result.mask)
        overlay = cv2.imread(str(out / f'overlays/{result.name}.jpg'))[..., ::-1].astype(int)
        assert np.abs(overlay - result.overlay()).mean() < 8
    coco = COCO(str(out / 'annotations.json'))
    assert [c['name'] for c in coco.loadCats(coco.getCatIds())] == ['gear', 'wheel']
    assert len(coco.anns) == sum((r.mask == i).any() for r in results for i in (1, 2)) > 4
    for image, result in zip(coco.dataset['images'], results, strict=True):
        assert (image['height'], image['width']) == result.mask.shape and image['file_name'] == result.source
        again = np.zeros_like(result.mask)
        for annotation in coco.imgToAnns[image['id']]:
            region = coco.annToMask(annotation).astype(bool)
            again[region] = annotation['category_id']
            assert annotation['area'] == region.sum() and 0.5 <= annotation['score'] <= 1
            rows, columns = np.nonzero(region)
            assert annotation['bbox'][:2] == [columns.min(), rows.min()]
        assert np.array_equal(again, result.mask)


def test_an_image_without_objects_is_listed(inferencer, gear, folder, out):
    (result,) = inferencer(folder / '0.png', gear, out_dir=out, threshold=1)
    assert not result.mask.any()
    found = json.loads((out / 'annotations.json').read_text())
    assert len(found['images']) == 1 and found['annotations'] == []


def test_same_stem_in_different_folders(inferencer, gear, tmp_path, out):
    paths = [toys.save(toys.photo(i), tmp_path / f'{i}/photo.png') for i in range(3)]
    results = inferencer(paths, gear, out_dir=out)
    assert [r.name for r in results] == ['photo', '1_photo', '2_photo']
    assert files(out) == expected_files('photo', '1_photo', '2_photo')
    # The same files in another order, and one alone: names stay.
    assert [r.name for r in inferencer(paths[::-1], gear, out_dir=out)] == ['2_photo', '1_photo', 'photo']
    assert [r.name for r in inferencer(paths[1], gear, out_dir=out)] == ['1_photo']


# --- interruptions ---


def test_skipped_on_the_second_run(inferencer, gear, folder, out):
    first = inferencer([folder / '0.png', folder / '1.png'], gear, out_dir=out)
    kept = (out / 'masks/0.png').stat().st_mtime_ns
    again = inferencer(folder, gear, out_dir=out, skip_existing=True)
    assert [r.name for r in first] == ['0', '1'] and [r.name for r in again] == ['2', '3']
    assert (out / 'masks/0.png').stat().st_mtime_ns == kept
    assert images_of(out) == ['0', '1', '2', '3']
    assert inferencer(folder, gear, out_dir=out, skip_existing=True) == []


def test_what_changed_is_done_again(inferencer, gear, folder, out):
    def again(registered=gear, **kwargs):
        return [r.name for r in inferencer(folder, registered, out_dir=out, skip_existing=True, **kwargs)]

    inferencer(folder, gear, out_dir=out)
    toys.save(toys.photo(99), folder / '1.png')
    (out / 'masks/2.png').unlink()
    (out / 'overlays/3.jpg').unlink()
    assert again() == ['1', '2', '3']
    assert again(threshold=0.6) == ['0', '1', '2', '3'] and again(threshold=0.6) == []
    other = inferencer.register('gear', toys.photo(5), toys.disc())
    assert again(other) == ['0', '1', '2', '3']
    assert sorted(images_of(out)) == ['0', '1', '2', '3']


def test_registered_again_counts_as_the_same(inferencer, folder, out):
    for expected in (4, 0):
        registered = inferencer.register('gear', toys.photo(0), toys.disc())
        assert len(inferencer(folder, registered, out_dir=out, skip_existing=True)) == expected


def test_ctrl_c_halfway(inferencer, gear, folder, out, monkeypatch):
    plain, calls = module.SegmentationResult, []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return plain(*args)

    monkeypatch.setattr(module, 'SegmentationResult', interrupted)
    with pytest.raises(KeyboardInterrupt):
        inferencer(folder, gear, out_dir=out)
    assert files(out) == expected_files('0', '1') and images_of(out) == ['0', '1']
    assert [r.name for r in inferencer(folder, gear, out_dir=out, skip_existing=True)] == ['2', '3']
    assert images_of(out) == ['0', '1', '2', '3']


def test_a_kill_in_the_middle_of_a_line(inferencer, gear, folder, out):
    inferencer(folder, gear, out_dir=out)
    log = out / 'annotations.jsonl'
    log.write_bytes(log.read_bytes()[:-40])
    (out / 'annotations.json').unlink()
    assert [r.name for r in inferencer(folder, gear, out_dir=out, skip_existing=True)] == ['3']
    assert images_of(out) == ['0', '1', '2', '3']


def test_a_caller_that_has_seen_enough(inferencer, gear, folder, out):
    results = inferencer.stream(folder, gear, out_dir=out)
    next(results)
    results.close()
    written = images_of(out)  # what was computed meanwhile as well
    assert written == ['0', '1', '2', '3'][: len(written)] and written
    assert files(out) == expected_files(*written)


def test_a_broken_image_keeps_what_is_finished(inferencer, gear, folder, out):
    whole = cv2.imencode('.jpg', toys.photo(0))[1].tobytes()
    (folder / '5.jpg').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFileError, match='5.jpg is corrupt.*take it out.*Finished files stay.*--skip-existing'):
        inferencer(folder, gear, out_dir=out, batch_size=2)
    assert images_of(out) == ['0', '1', '2', '3']
    with pytest.raises(CorruptFileError, match='5.jpg cannot be decoded'):
        inferencer(Image.open(folder / '5.jpg'), gear)


@pytest.mark.parametrize('full_at', ['2.png', '2.jpg', 'annotations.json'])
def test_a_full_disk(inferencer, gear, folder, out, monkeypatch, full_at):
    plain = os.replace

    def replace(source, target):
        if Path(target).name == full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        plain(source, target)

    monkeypatch.setattr(os, 'replace', replace)
    with pytest.raises(OSError, match=f'MiB free.*Finished files stay.*--skip-existing.*{full_at}'):
        inferencer(folder, gear, out_dir=out)
    monkeypatch.undo()
    assert not [name for name in files(out) if 'half' in name]
    left = ['2'] if full_at.startswith('2') else []
    again = inferencer(folder, gear, out_dir=out, skip_existing=True)
    assert [r.name for r in again] == left  # the one behind it was computed already, and is written
    assert sorted(images_of(out)) == ['0', '1', '2', '3']


def test_a_full_disk_while_the_log_is_written(inferencer, gear, folder, out, monkeypatch):
    inferencer(folder / '0.png', gear, out_dir=out)
    before = (out / 'annotations.jsonl').read_bytes()
    monkeypatch.setattr(
        ResultWriter,
        '_ends_with_newline',
        lambda self: (_ for _ in ()).throw(OSError(errno.ENOSPC, 'No space left on device')),
    )
    with pytest.raises(OSError, match='No space left.*Finished files stay.*annotations.jsonl'):
        inferencer(folder / '1.png', gear, out_dir=out)
    assert (out / 'annotations.jsonl').read_bytes() == before and images_of(out) == ['0']


def test_output_folders_that_do_not_do(inferencer, gear, wheel, folder, out):
    inferencer(folder, gear, out_dir=out)
    with pytest.raises(ValueError, match=r"results of the classes \['gear'\].*choose another output folder"):
        inferencer(folder, [gear, wheel], out_dir=out)
    with pytest.raises(OSError, match='cannot be written.*Choose another folder'):
        inferencer(folder, gear, out_dir=folder / '0.png')


# --- videos ---


def test_videos(inferencer, gear, tmp_path, out):
    path = write_video(tmp_path / 'clip.avi')
    names = [f'clip/{i:06d}' for i in range(5)]
    results = inferencer([path, toys.photo(3)], gear, out_dir=out, batch_size=2)
    assert [r.name for r in results] == [*names, 'image_000000']
    assert files(out) == expected_files(*names, 'image_000000') | {'overlays/clip.mp4'}
    video = mmcv.VideoReader(str(out / 'overlays/clip.mp4'))
    assert (video.frame_cnt, video.fps, video.resolution) == (5, 10, (80, 60))
    for frame, result in zip(video, results, strict=False):
        assert np.abs(frame[..., ::-1].astype(int) - result.overlay()).mean() < 15


def test_an_interrupted_video_goes_on(inferencer, gear, tmp_path, out):
    path = write_video(tmp_path / 'clip.avi')
    results = inferencer.stream(path, gear, out_dir=out, batch_size=1)
    next(results), next(results)
    results.close()
    assert not (out / 'overlays/clip.mp4').exists()
    assert len(inferencer(path, gear, out_dir=out, skip_existing=True)) <= 3
    assert mmcv.VideoReader(str(out / 'overlays/clip.mp4')).frame_cnt == 5


def test_a_video_that_could_not_be_written(inferencer, gear, tmp_path, out, monkeypatch):
    monkeypatch.setattr(mmcv, 'frames2video', lambda *args, **kwargs: None)
    with pytest.raises(OSError, match='0 of 5 frames.*Finished files stay.*clip.mp4'):
        inferencer(write_video(tmp_path / 'clip.avi'), gear, out_dir=out)
    assert len(list((out / 'masks/clip').iterdir())) == 5


# --- memory ---


def test_memory_does_not_grow_with_the_number_of_images(inferencer, gear, tmp_path, out, monkeypatch):
    """At most the batch at work, the one that is read ahead and the one that is written are held."""
    made = []

    def tracked(loaded):
        image = plain(loaded)
        made.append(weakref.ref(image))
        return image

    plain = module.rgb
    monkeypatch.setattr(module, 'rgb', tracked)
    for result in inferencer.stream(toys.photos(tmp_path / 'in', 12), gear, batch_size=2, out_dir=out):
        del result
        assert sum(image() is not None for image in made) <= 6
    assert len(made) == 12
