# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The door for checkpoints: no code runs, and whatever is none is named in one line."""

import io
import os
import pickle
import tarfile
import zipfile
from collections import defaultdict

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader, load_checkpoint
from torch import nn

from mmfss.utils.checkpoint_files import (
    TRUST_VARIABLE,
    CheckpointFileError,
    UntrustedCheckpointError,
    fetch,
    read_file,
)

STATE = {'layer.weight': torch.ones(2, 3)}


class Evil:
    """Opens a file for writing when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, 'w')


@pytest.fixture
def evil(tmp_path):
    """A checkpoint that leaves a file ``ran`` behind when its code runs."""
    torch.save(dict(state_dict=STATE, meta=dict(x=Evil(tmp_path / 'ran'))), tmp_path / 'evil.pth')
    return tmp_path / 'evil.pth'


READERS = dict(
    door=read_file,
    mmengine=lambda path: CheckpointLoader.load_checkpoint(str(path), map_location='cpu'),
    model=lambda path: load_checkpoint(nn.ModuleDict(dict(layer=nn.Linear(3, 2))), str(path)),
    pretrained=lambda path: BaseModule(dict(type='Pretrained', checkpoint=str(path))).init_weights(),
)


@pytest.mark.parametrize('reader', READERS.values(), ids=READERS)
@pytest.mark.parametrize('version', ['2.14.0', '2.4.0'])
def test_no_reader_runs_code(evil, reader, version, monkeypatch):
    monkeypatch.setattr('mmengine.runner.checkpoint.TORCH_VERSION', version)  # mmengine trusts all below 2.6
    with pytest.raises(UntrustedCheckpointError, match='evil.pth holds Python objects .*--trust-checkpoint'):
        reader(evil)
    assert not (evil.parent / 'ran').exists()


def test_a_trusted_file_is_read(evil, monkeypatch):
    monkeypatch.setenv(TRUST_VARIABLE, '1')
    assert READERS['mmengine'](evil)['state_dict'].keys() == STATE.keys()
    assert (evil.parent / 'ran').exists()


def test_attributes_of_listed_types_are_out_of_reach(tmp_path):
    """mmengine's list has ``getattr``: with it a file reaches the globals of modules."""

    class Reach:
        def __reduce__(self):
            return getattr, (HistoryBuffer, '__init__')

    torch.save(dict(state_dict=STATE, x=Reach()), tmp_path / 'a.pth')
    with pytest.raises(CheckpointFileError, match='a.pth'):
        read_file(tmp_path / 'a.pth')


@pytest.mark.parametrize('old', [False, True], ids=['torch', 'torch without safe_globals'])
def test_what_mmengine_saves_is_read(tmp_path, monkeypatch, old):
    if old:  # as torch 2.4
        monkeypatch.delattr(torch.serialization, 'safe_globals')
    buffer = HistoryBuffer([1.0, 2.0], [1, 1])
    missing = defaultdict(list, a=[1])
    content = dict(
        state_dict=STATE,
        meta=dict(
            best=np.float64(0.5),
            counts=np.arange(3),
            flags=np.array([True]),
            small=np.float16([1]),
            names=np.array(['cat']),
            cfg=ConfigDict(a=dict(b=[1, 2])),
            missing=missing,
            step=np.int32(3),
        ),
        message_hub=dict(log_scalars=dict(loss=buffer)),
    )
    torch.save(content, tmp_path / 'a.pth')
    found = read_file(tmp_path / 'a.pth')
    assert found['meta']['cfg'].a.b == [1, 2] and found['meta']['missing'] == missing and found['meta']['best'] == 0.5
    assert found['message_hub']['log_scalars']['loss'].statistics('mean', 2) == 1.5
    assert found['meta']['counts'].tolist() == [0, 1, 2] and found['meta']['names'].tolist() == ['cat']


def saved(content) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def zipped(**files) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w') as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return stream.getvalue()


def tarred() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode='w') as archive:
        archive.addfile(tarfile.TarInfo('a.pth'))
    return stream.getvalue()


GOOD = saved(dict(state_dict=dict(a=torch.randn(1000))))
FOREIGN = dict(
    page=(b'<!DOCTYPE html><html><body>Quota exceeded</body></html>', 'web page'),
    page_late=(b'\n\n  <html lang="en"> ...', 'web page'),
    lfs=(b'version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n', 'Git LFS pointer'),
    annex=(b'/annex/objects/SHA256E-s1--2.pth\n', 'git-annex pointer'),
    empty=(b'', 'an empty file'),
    text=(b'{"error": "not found"}', 'text that begins with'),
    cut=(GOOD[: len(GOOD) // 2], 'cut off'),
    cut_early=(GOOD[:300], 'cut off'),
    zeros=(bytes(5000), 'full of zeros'),
    noise=(bytes(range(128, 256)) * 20, 'no checkpoint'),
    archive=(zipped(**{'readme.txt': 'hello'}), 'zip archive without weights .it holds readme.txt'),
    empty_archive=(zipped(), 'zip archive without weights'),
    npz=(zipped(**{'a.npy': b'x'}), 'NumPy archive'),
    tar=(tarred(), 'tar archive'),
    gzip=(b'\x1f\x8b\x08' + bytes(30), 'gzip'),
    safetensors=(b'\x40' + bytes(7) + b'{"a":{"dtype":"F32"' + b' ' * 60, 'safetensors'),
    hdf=(b'\x89HDF\r\n\x1a\n' + bytes(64), 'HDF5'),
    image=(b'\x89PNG\r\n\x1a\n' + bytes(64), 'PNG'),
    a_list=(saved([1, 2]), 'holds no state dict.*a list'),
    a_tensor=(saved(torch.ones(2)), 'holds no state dict.*a Tensor'),
    no_weights=(saved(dict(epoch=1)), 'holds no state dict.*epoch'),
    other_meta=(saved(dict(state_dict=STATE, meta=None)), 'under meta'),
    state_list=(saved(dict(state_dict=[1])), 'holds no state dict'),
    plain_pickle=(pickle.dumps([1, 2], 2), 'no checkpoint|no state dict'),
    cut_pickle=(pickle.dumps(list(range(500)), 2)[:100], 'no checkpoint'),
)


@pytest.mark.parametrize('data, words', FOREIGN.values(), ids=FOREIGN)
def test_what_is_no_checkpoint_is_named_in_one_line(tmp_path, data, words):
    path = tmp_path / 'm.pth'
    path.write_bytes(data)
    for reader in (read_file, READERS['mmengine']):
        with pytest.raises(CheckpointFileError, match=words) as caught:
            reader(path)
        assert str(caught.value).startswith(str(path)) and '\n' not in str(caught.value)


def test_scripts_and_folders_are_named(tmp_path):
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / 'script.pt')
    with pytest.raises(CheckpointFileError, match='script.pt is no checkpoint: it is a TorchScript program'):
        read_file(tmp_path / 'script.pt')
    with pytest.raises(CheckpointFileError, match='is a folder'):
        read_file(tmp_path)
    with pytest.raises(FileNotFoundError, match='there is no checkpoint .*gone.pth'):
        read_file(tmp_path / 'gone.pth')


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    state = dict(good=torch.ones(2), bad=torch.tensor([1.0, value]), half=torch.tensor([value]).half())
    torch.save(dict(state_dict=state), tmp_path / 'a.pth')
    with pytest.raises(CheckpointFileError, match='a.pth holds weights that are not finite .*: bad, half'):
        read_file(tmp_path / 'a.pth')


def test_masks_may_hold_infinity(tmp_path):
    torch.save({'w': torch.ones(1), 'attn_mask': torch.tensor([-float('inf')])}, tmp_path / 'a.pth')
    assert read_file(tmp_path / 'a.pth').keys() == {'w', 'attn_mask'}


def test_addresses_go_by_the_same_rule(tmp_path, evil, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', lambda url, path: os.link(evil, path))
    with pytest.raises(UntrustedCheckpointError):
        READERS['mmengine']('https://host/files/resnet.pth?x=1')
    assert os.listdir(tmp_path / 'hub' / 'checkpoints') == ['resnet.pth'] and not (tmp_path / 'ran').exists()
    with pytest.raises(ValueError, match='reads no checkpoints from s3'):
        fetch('s3://bucket/a.pth')
    with pytest.raises(ValueError, match='no checkpoint of that name'):
        fetch('torchvision://nothing')
