# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""From official-looking downloads to prepared benchmarks, and every way in which a download can be wrong."""

import io
import json
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
from helpers import load_script
from PIL import Image
from scipy.io import savemat
from tool_runs import REPO

from mmfss.datasets.preparation import PreparationError, files, prepare_pascal
from mmfss.datasets.preparation.expected import COCO_FWB, PASCAL

SIZE = (60, 64)
LISTS = dict(train=['a1', 'b1'], val=['c1', 'd1'])  # VOC's
SBD = dict(train=['c1', 'e1', 'b1'], val=['f1', 'g1'])  # e1 and f1 are in VOC's Main/train


def tool(name):
    return load_script(REPO / f'tools/dataset_converters/{name}.py')


def label(name):
    mask = np.zeros(SIZE, np.uint8)
    mask[:50, :50] = ord(name[0]) - ord('a') + 1
    return mask


@pytest.fixture
def downloads(tmp_path):
    """VOC2012 and SBD as folders."""
    voc, sbd = tmp_path / 'VOCdevkit/VOC2012', tmp_path / 'benchmark_RELEASE/dataset'
    for folder in (
        voc / 'JPEGImages',
        voc / 'SegmentationClass',
        voc / 'ImageSets/Segmentation',
        voc / 'ImageSets/Main',
        sbd / 'cls',
    ):
        folder.mkdir(parents=True)
    for name, names in LISTS.items():
        (voc / f'ImageSets/Segmentation/{name}.txt').write_text('\n'.join(names) + '\n')
        (sbd / f'{name}.txt').write_text('\n'.join(SBD[name]) + '\n')
    (voc / 'ImageSets/Main/train.txt').write_text('b1\ne1\nf1\nz1\n')
    for name in ('a1', 'b1', 'c1', 'd1', 'e1', 'f1', 'g1'):
        Image.new('RGB', SIZE[::-1]).save(voc / f'JPEGImages/{name}.jpg')
    for name in ('a1', 'b1', 'c1', 'd1'):
        mask = label(name)
        mask[50] = 255
        files.save_index_png(mask, voc / f'SegmentationClass/{name}.png')
    for name in ('b1', 'c1', 'e1', 'f1', 'g1'):
        savemat(sbd / f'cls/{name}.mat', {'GTcls': {'Segmentation': label(name), 'Boundaries': [1]}})
    return voc, sbd


def read(path):
    with Image.open(path) as mask:
        assert mask.mode == 'P'
        return np.array(mask)


def check(voc):
    masks = voc / 'SegmentationClassAug'
    assert sorted(path.name for path in masks.iterdir()) == [f'{n}1.png' for n in 'abcdefg']
    assert (read(masks / 'b1.png')[50] == 255).all()  # VOC's mask, not SBD's
    assert np.array_equal(read(masks / 'e1.png'), label('e1'))
    lists = voc / 'ImageSets/Segmentation'
    assert (lists / 'train_5953.txt').read_text().split() == ['b1', 'e1', 'f1', 'a1']  # SBD sorted, then the rest
    assert (lists / 'trainaug.txt').read_text().split() == ['a1', 'b1', 'e1', 'f1', 'g1']
    assert (lists / 'train.txt').read_text().split() == ['a1', 'b1']


def test_pascal_from_folders_and_again(downloads):
    voc, sbd = downloads
    assert prepare_pascal(voc.parents[1], sbd, workers=2) == dict(train_5953=4, trainaug=5)
    check(voc)
    mask = voc / 'SegmentationClassAug/e1.png'
    before = mask.stat().st_mtime_ns
    (voc / 'SegmentationClassAug/f1.png').unlink()
    (voc / 'SegmentationClassAug/.g1.png.7.half').write_bytes(b'cut')  # what a kill leaves
    prepare_pascal(voc, sbd, workers=0)
    check(voc)
    assert mask.stat().st_mtime_ns == before


def pack(root, archive, mode):
    with tarfile.open(archive, mode) as tar:
        tar.add(root, arcname=root.name)
    return archive


def test_pascal_from_archives(downloads, tmp_path, capsys):
    voc, sbd = downloads
    archives = pack(voc.parent, tmp_path / 'voc.tar', 'w'), pack(sbd.parent, tmp_path / 'sbd.tgz', 'w:gz')
    out = tmp_path / 'out/VOC2012'
    tool('pascal5i').main(['--voc', str(archives[0]), '--sbd', str(archives[1]), '--out', str(out), '--workers', '0'])
    assert 'train_5953.txt (4)' in capsys.readouterr().out
    check(out)


@pytest.mark.parametrize('kind', ['voc.tar', 'sbd.tgz'])
def test_an_archive_that_is_cut_off(downloads, tmp_path, kind):
    voc, sbd = downloads
    archive = pack(voc.parent, tmp_path / kind, 'w') if kind == 'voc.tar' else pack(sbd.parent, tmp_path / kind, 'w:gz')
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    sources = (archive, sbd, tmp_path / 'out') if kind == 'voc.tar' else (voc, archive)
    message = rf'{kind} is (cut off|damaged).*Fetch it again|missing|not complete|only a part'
    with pytest.raises(PreparationError, match=message):
        prepare_pascal(*sources, workers=0)
    assert not list(tmp_path.glob('**/*.half')) and not (voc / 'SegmentationClassAug').exists()


def add(archive, name, size, data=b''):
    """Put one member of zeros into a packed archive."""
    with tarfile.open(archive, 'w:gz') as tar:
        member = tarfile.TarInfo(name)
        member.size = size
        tar.addfile(member, io.BytesIO(data.ljust(size, b'\0')))
    return archive


def test_an_archive_that_unpacks_to_too_much(tmp_path, monkeypatch):
    def unpack(archive):
        files.unpack(archive, lambda member: member.name, tmp_path / 'out')

    bomb = add(tmp_path / 'bomb.tgz', 'VOC2012/JPEGImages/a.jpg', 3 * 2**20)
    assert bomb.stat().st_size < 2**16
    monkeypatch.setattr(files, 'MAX_MEMBER', 2**20)
    with pytest.raises(PreparationError, match=r'bomb\.tgz holds VOC2012/JPEGImages/a\.jpg of 3 MiB, far more'):
        unpack(bomb)
    monkeypatch.setattr(files, 'MAX_MEMBER', 2**30)
    space = shutil.disk_usage(tmp_path)._replace(free=files.DISK_RESERVE + 2**20)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: space)
    with pytest.raises(PreparationError, match=r'bomb\.tgz, at VOC2012/.*a\.jpg: .* 65 MiB free, about 67 MiB needed'):
        unpack(bomb)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: space._replace(free=2**40))

    def full(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(files, '_copy', full)
    with pytest.raises(OSError, match=r'a\.jpg of .*bomb\.tgz: .*No space left on device.*MiB free'):
        unpack(bomb)
    assert not list((tmp_path / 'out').rglob('*.*'))


def test_an_archive_that_leads_elsewhere_or_is_none(tmp_path):
    evil = add(tmp_path / 'evil.tgz', 'VOC2012/../../x.txt', 3, b'abc')
    with pytest.raises(PreparationError, match=r'evil\.tgz holds VOC2012/\.\./\.\./x\.txt, a path that leads out'):
        files.unpack(evil, lambda member: str(member), tmp_path / 'a/b/out')
    assert not list(tmp_path.rglob('x.txt'))
    with zipfile.ZipFile(tmp_path / 'voc.zip', 'w') as archive:
        archive.writestr('VOC2012/a.txt', 'x')
    with pytest.raises(PreparationError, match=r'voc\.zip is a zip archive.*Unpack it and give the folder'):
        files.unpack(tmp_path / 'voc.zip', str, tmp_path / 'out')


def test_pascal_downloads_that_are_wrong(downloads, tmp_path):
    voc, sbd = downloads
    with pytest.raises(PreparationError, match='holds no VOC2012/ImageSets'):
        prepare_pascal(sbd, sbd)
    with pytest.raises(PreparationError, match='no folder `cls`'):
        prepare_pascal(voc, voc)
    (sbd / 'cls/f1.mat').rename(sbd / 'f1.mat')
    with pytest.raises(PreparationError, match=r'1 of 3 SBD masks are missing .*f1\.mat'):
        prepare_pascal(voc, sbd)
    (sbd / 'cls/f1.mat').write_bytes((sbd / 'f1.mat').read_bytes()[:150])
    with pytest.raises(PreparationError, match=r'1 of 7 files could not be made.*f1\.mat.*resumes'):
        prepare_pascal(voc, sbd, workers=0)
    assert len(list((voc / 'SegmentationClassAug').iterdir())) == 6  # the others are done and whole
    assert not (voc / 'ImageSets/Segmentation/train_5953.txt').exists()
    (voc / 'JPEGImages/a1.jpg').unlink()
    with pytest.raises(PreparationError, match=r'1 of 7 VOC images are missing .*a1\.jpg'):
        prepare_pascal(voc, sbd)


def test_a_full_disk(downloads, monkeypatch):
    monkeypatch.setattr(files, 'DISK_RESERVE', 2**60)
    with pytest.raises(PreparationError, match='MiB free, about .* MiB needed'):
        prepare_pascal(*downloads)


# ---------------------------------------------------------------- verify


def test_verify(voc, tmp_path, capsys):
    main = tool('verify').main
    options = [
        'pascal5i',
        '--data-root',
        str(voc),
        '--train-list',
        'ImageSets/Segmentation/train.txt',
        '--candidate-area',
        '100',
        '--folds',
        '1',
    ]
    assert main([*options, '--save', str(tmp_path / 'counts.json')]) == 0
    assert '| fold 1 val | all | 20 |' in capsys.readouterr().out
    assert main([*options, '--expected', str(tmp_path / 'counts.json')]) == 0
    assert 'as expected' in capsys.readouterr().out
    counts = json.loads((tmp_path / 'counts.json').read_text())
    counts['fold 1 val']['classes']['cat'] = 5
    counts['fold 1 train']['sha256'] = '0' * 16
    (tmp_path / 'counts.json').write_text(json.dumps(counts))
    assert main([*options, '--expected', str(tmp_path / 'counts.json')]) == 1
    error = capsys.readouterr().err
    assert 'cat: 4, expected 5' in error and 'fold 1 train: list' in error
    assert main([*options, '--expected', str(voc / 'nothing.json')]) == 2


def test_expected_counts_are_those_published():
    assert [PASCAL[f'fold {f} train'].images for f in range(4)] == [4208, 3726, 2752, 4510]
    assert [PASCAL[f'fold {f} val'].images for f in range(4)] == [364, 445, 592, 336]
    assert [PASCAL[f'fold {f} train, novel images kept'].images for f in range(4)] == [4760, 4588, 4097, 5108]
    assert [list(PASCAL[f'fold {f} val'].classes.values()) for f in range(4)] == [
        [81, 63, 89, 61, 71],
        [70, 100, 118, 110, 69],
        [73, 125, 76, 74, 386],
        [63, 53, 90, 82, 69],
    ]
    assert COCO_FWB['fold 3 val'].images == 12640
