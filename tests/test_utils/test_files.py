# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import errno
import json
import os

import numpy as np
import pytest
import torch
from mmengine.fileio import get_file_backend

from mmfss.utils.files import (
    RESUME,
    atomic_open,
    atomic_path,
    atomic_savez,
    atomic_torch_save,
    atomic_write,
    atomic_write_json,
    check_writable,
    remove_leftovers,
)


def fill_disk(monkeypatch):
    """From now on the disk is full."""

    def fail(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'fsync', fail)


def test_a_write_replaces_the_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / 'new' / 'file.bin'
    atomic_write(b'one', path)
    atomic_write(b'two', path)
    assert path.read_bytes() == b'two'
    assert [p.name for p in path.parent.iterdir()] == ['file.bin']


def test_a_full_disk_keeps_the_old_file_and_names_path_and_free_space(tmp_path, monkeypatch):
    path = tmp_path / 'epoch_1.pth'
    atomic_torch_save(dict(a=torch.ones(3)), path)
    before = path.read_bytes()
    fill_disk(monkeypatch)
    with pytest.raises(OSError) as caught:
        atomic_torch_save(dict(a=torch.zeros(3)), path, RESUME)
    assert caught.value.errno == errno.ENOSPC
    assert 'epoch_1.pth' in str(caught.value)
    assert 'MiB free' in str(caught.value) and '--resume' in str(caught.value)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ['epoch_1.pth']


def test_a_really_short_write_leaves_no_half_file(tmp_path):
    resource = pytest.importorskip('resource')
    path = tmp_path / 'big.bin'
    atomic_write(b'old', path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match='big.bin'):
            atomic_write(b'x' * 10_000, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b'old'
    assert [p.name for p in tmp_path.iterdir()] == ['big.bin']


def test_a_folder_without_write_permission_is_an_error_that_names_it(tmp_path):
    blocker = tmp_path / 'file'
    blocker.write_text('not a folder')
    with pytest.raises(OSError, match='below.pth'):
        atomic_write(b'x', blocker / 'below.pth')


def test_mmengine_finds_the_atomic_backend(tmp_path):
    backend = get_file_backend('', backend_args=dict(backend='mmfss.atomic'))
    backend.put_text('words', tmp_path / 'text')
    assert (tmp_path / 'text').read_text() == 'words'


def test_values_and_arrays_come_back(tmp_path):
    atomic_write_json(dict(name='\u00e9', sizes=[1, 2]), tmp_path / 'new' / 'a.json')
    assert json.loads((tmp_path / 'new' / 'a.json').read_text(encoding='utf-8')) == dict(name='\u00e9', sizes=[1, 2])
    atomic_savez(dict(a=np.arange(3)), tmp_path / 'a.npz')
    with np.load(tmp_path / 'a.npz') as stored:
        assert stored['a'].tolist() == [0, 1, 2]


@pytest.mark.parametrize('error', [ValueError('no'), KeyboardInterrupt(), OSError('a writer may explain itself')])
def test_a_writer_that_fails_leaves_the_old_file_and_its_own_error(tmp_path, error):
    path = tmp_path / 'a.txt'
    atomic_write(b'old', path)
    with pytest.raises(type(error)) as caught, atomic_open(path) as stream:
        stream.write(b'half')
        raise error
    assert caught.value is error
    assert path.read_bytes() == b'old' and os.listdir(tmp_path) == ['a.txt']


def test_a_writer_may_go_by_the_suffix(tmp_path):
    with atomic_path(tmp_path / 'a.mp4', keep_suffix=True) as half:
        assert half.suffix == '.mp4' and half != tmp_path / 'a.mp4'
        half.write_bytes(b'film')
    assert os.listdir(tmp_path) == ['a.mp4']


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / '.epoch_1.pth.7.half').write_bytes(b'cut')
    (tmp_path / 'epoch_1.pth').write_bytes(b'whole')
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ['epoch_1.pth']


def test_a_folder_that_cannot_be_written_is_refused_and_none_is_made(tmp_path, monkeypatch):
    check_writable(tmp_path / 'new' / 'runs')
    assert not list(tmp_path.iterdir())
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match=r'Not a directory: .*file; .* MiB free\). Choose another folder'):
        check_writable(tmp_path / 'file' / 'runs')

    def fail(*args):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr('pathlib.Path.write_bytes', fail)
    with pytest.raises(OSError, match=r'Read-only file system: .*runs') as found:
        check_writable(tmp_path / 'runs')
    assert found.value.errno == errno.EROFS
