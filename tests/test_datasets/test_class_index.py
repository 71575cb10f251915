# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The class index counts rightly, is kept once, and is made anew when files change."""

import os
import time
from multiprocessing import get_context

import numpy as np
import pytest
from filelock import FileLock
from helpers import BIG, HEIGHT, SMALL, WIDTH, jpeg, png, scenes, write_voc
from PIL import Image

from mmfss.datasets import class_index
from mmfss.datasets.class_index import load_class_index, read_class_index


def entries(root, split='val'):
    return [(name, str(jpeg(root, name)), str(png(root, name))) for name in scenes(split)]


@pytest.fixture
def small(tmp_path):
    """Three images, so that nothing is slow."""
    return write_voc(tmp_path / 'data', val={'a': [(3, 7)], 'b': [(1, 2), (5, 9)], 'c': []})


def listed(root):
    return [(name, str(jpeg(root, name)), str(png(root, name))) for name in 'abc']


def test_counts_pixels_and_sizes(voc):
    index = read_class_index(entries(voc))
    assert len(index) == 80
    assert index.areas(1)[:4].tolist() == [BIG] * 4 and index.areas(1)[79] == SMALL
    assert index.labels_of(3).tolist() == [0, 1, 2, 255]
    assert (index.image_sizes == (HEIGHT, WIDTH)).all()
    assert (index.mask_sizes == (HEIGHT, WIDTH)).all()
    assert index.areas(0)[0] == HEIGHT * WIDTH - BIG - 4


def test_second_start_reads_no_mask(small, monkeypatch):
    first = load_class_index(listed(small), data_root=str(small))
    assert len(list((small / '.mmfss_cache').glob('*.npz'))) == 1
    monkeypatch.setattr(class_index, 'read_class_index', None)
    second = load_class_index(listed(small), data_root=str(small))
    assert np.array_equal(first.counts, second.counts)


def test_a_changed_mask_is_read_again(small):
    load_class_index(listed(small), data_root=str(small))
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:2] = 9
    Image.fromarray(mask).save(png(small, 'b'))
    assert load_class_index(listed(small), data_root=str(small)).areas(9)[1] == 2 * WIDTH


def test_read_only_data_uses_the_users_cache(small, tmp_path, monkeypatch):
    monkeypatch.setenv('MMFSS_CACHE', str(tmp_path / 'mine'))
    small.chmod(0o555)
    load_class_index(listed(small), data_root=str(small))
    small.chmod(0o755)
    assert not (small / '.mmfss_cache').exists()
    assert len(list((tmp_path / 'mine').glob('*.npz'))) == 1


def test_a_broken_index_file_is_replaced(small, logged):
    load_class_index(listed(small), data_root=str(small))
    file = next((small / '.mmfss_cache').glob('*.npz'))
    file.write_bytes(file.read_bytes()[:50])
    assert load_class_index(listed(small), data_root=str(small)).areas(3)[0] == 7
    assert any('rebuilt' in message for message in logged)
    assert file.stat().st_size > 50


def test_a_full_disk_costs_only_the_cache(small, monkeypatch, logged):
    def full(*args, **kwargs):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(class_index.np, 'savez_compressed', full)
    assert load_class_index(listed(small), data_root=str(small)).areas(3)[0] == 7
    assert any('No space left' in m and 'MMFSS_CACHE' in m for m in logged)
    assert not list((small / '.mmfss_cache').glob('*.tmp'))


def _start(root):
    calls = []
    read = class_index.read_class_index
    class_index.read_class_index = lambda *a, **k: calls.append(1) or read(*a, **k)
    index = load_class_index(listed(root), data_root=str(root), workers=1)
    return len(calls), index.counts.tolist()


def test_several_ranks_start_at_once(small):
    with get_context('fork').Pool(2) as pool:
        results = pool.map(_start, [small] * 2, chunksize=1)
    assert sum(calls for calls, _ in results) == 1
    assert len({tuple(counts) for _, counts in results}) == 1


def test_a_stopped_process_is_not_waited_for_for_ever(small, monkeypatch, logged):
    monkeypatch.setattr(class_index, 'TELL_AFTER', 0.1)
    monkeypatch.setattr(class_index, 'GIVE_UP_AFTER', 0.1)
    name = f'class_index-{class_index.content_key(listed(small))[:24]}.npz.lock'
    (small / '.mmfss_cache').mkdir()
    with FileLock(str(small / '.mmfss_cache' / name), is_singleton=False):
        assert load_class_index(listed(small), data_root=str(small)).areas(3)[0] == 7
    assert any('Another process reads the masks' in m and name in m for m in logged)


@pytest.mark.parametrize('kind, path_of', [('image', jpeg), ('mask', png)])
def test_missing_files_are_named_and_counted(small, kind, path_of):
    os.remove(path_of(small, 'b'))
    os.remove(path_of(small, 'c'))
    with pytest.raises(FileNotFoundError, match=rf'2 of 3 {kind} files .*b\.\w+\. Complete'):
        load_class_index(listed(small), data_root=str(small))


def test_a_colour_mask_is_refused(small):
    Image.new('RGB', (WIDTH, HEIGHT)).save(png(small, 'b'))
    with pytest.raises(ValueError, match=r'1 of 3 masks.*b\.png: its mode is RGB'):
        load_class_index(listed(small), data_root=str(small))


def test_a_cut_off_mask_is_refused(small):
    file = png(small, 'a')
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(ValueError, match=r'a\.png: .*Fetch or convert it again'):
        load_class_index(listed(small), data_root=str(small))


def test_image_size_is_that_of_the_turned_image(small):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.new('RGB', (HEIGHT, WIDTH)).save(jpeg(small, 'a'), exif=exif)
    index = load_class_index(listed(small), data_root=str(small))
    assert index.image_sizes[0].tolist() == [HEIGHT, WIDTH]


def test_ctrl_c_does_not_wait_for_all_masks(voc):
    """Threads that had not begun went on to the last mask of the list."""
    read = []

    def interrupted(mask):
        read.append(1)
        if len(read) == 2:
            raise KeyboardInterrupt
        time.sleep(0.02)
        return class_index.index_histogram(mask)

    with pytest.raises(KeyboardInterrupt):
        read_class_index(entries(voc) * 3, workers=2, histogram=interrupted)
    assert len(read) < 40


@pytest.mark.timeout(60)
def test_a_pipe_is_not_waited_for(small):
    png(small, 'b').unlink()
    os.mkfifo(png(small, 'b'))
    with pytest.raises(FileNotFoundError, match=r'1 of 3 mask files are missing \(or no files\).*b\.png'):
        load_class_index(listed(small), data_root=str(small))
