# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import errno
import os

import pytest
import torch
from mmengine.fileio import get_file_backend

from mmfss.engine.safe_io import atomic_torch_save, atomic_write


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
        atomic_torch_save(dict(a=torch.zeros(3)), path)
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
