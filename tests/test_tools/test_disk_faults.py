# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Full and read-only disks, real ones: small file systems in memory, where this process may mount them."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import load_script
from tool_runs import CONFIGS, REPO, environment, run, start

from mmfss.utils.weights import read_checkpoint

pytestmark = pytest.mark.slow
MIB = 2**20


def mount(folder: Path, *options: str) -> bool:
    return not subprocess.run(['mount', *options, 'tmpfs', folder], capture_output=True, check=False).returncode


@pytest.fixture
def disk(tmp_path):
    """A file system of 32 MiB."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    if sys.platform != 'linux' or not mount(folder, '-t', 'tmpfs', '-o', 'size=32m'):
        pytest.skip('needs the right to mount')
    yield folder
    subprocess.run(['umount', '-l', folder], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all the space there is; removing it gives it back."""
    path = disk / 'filler'
    with open(path, 'ab', buffering=0) as file:
        for size in (MIB, 4096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
    return path


def make_read_only(disk: Path) -> None:
    assert mount(disk, '-o', 'remount,ro')


def weights(path: Path) -> list:
    return [(name, weight.tolist()) for name, weight in read_checkpoint(path)['state_dict'].items()]


def wait_for(path: Path, process) -> None:
    deadline = time.time() + 300
    while not path.exists():
        assert process.poll() is None and time.time() < deadline, process.communicate()[0][-3000:]
        time.sleep(0.02)


def segment(*args) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, REPO / 'demo/segment.py', *map(str, args)],
        cwd=REPO,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_training_on_a_full_disk_stops_and_goes_on_to_the_same_weights(trained_1shot, tiny_options, work_root, disk):
    options = [*tiny_options[:-1], disk]
    process = start('train.py', CONFIGS / 'tiny_1shot.py', *options)
    wait_for(disk / 'tiny_1shot/fold1/epoch_1.pth', process)
    filler = fill(disk)
    output = process.communicate(timeout=300)[0]
    print(output)
    last = output.splitlines()[-1]
    assert process.returncode == 1
    assert last.startswith('train: ') and 'No space left on device' in last and str(disk) in last and '--resume' in last
    assert weights(disk / 'tiny_1shot/fold1/epoch_1.pth')
    filler.unlink()
    run('train.py', CONFIGS / 'tiny_1shot.py', *options, '--resume')
    name = 'tiny_1shot/fold1/meta_learner.pth'
    assert weights(disk / name) == weights(work_root / name)


def test_a_cross_validation_on_a_full_disk_stops_and_goes_on(tiny_options, disk):
    command = 'cross_validate.py', CONFIGS / 'tiny_1shot.py', '--folds', 1, *tiny_options[2:-1], disk
    process = start(*command)
    wait_for(disk / 'tiny_base/fold1/base_learner.pth', process)
    filler = fill(disk)
    output = process.communicate(timeout=300)[0]
    print(output)
    assert process.returncode == 1 and 'No space left on device' in output
    assert not list(disk.rglob('table.*'))
    filler.unlink()
    assert 'mIoU in percent' in run(*command)


def test_a_test_on_a_full_disk_names_the_file(trained_1shot, tiny_options, disk, tmp_path):
    command = 'test.py', CONFIGS / 'tiny_1shot.py', trained_1shot[1], *tiny_options, '--out', disk / 'out'
    filler = fill(disk)
    command = *command, '--work-dir', tmp_path / 'run'
    last = run(*command, fails=True).splitlines()[-1]
    print(last)
    assert last.startswith('test: ') and 'No space left on device' in last and f'{disk}/out' in last
    filler.write_bytes(bytes(filler.stat().st_size - 8192))
    last = run(*command, fails=True).splitlines()[-1]
    print(last)
    assert 'No space left on device' in last and f'{disk}/out/run0_ep' in last
    assert not list((tmp_path / 'run').rglob('results_*.json')) and not list(disk.rglob('*.half'))


def test_segmenting_to_a_full_disk_keeps_what_is_finished(trained_1shot, tiny_options, disk):
    data = Path(tiny_options[3])
    images = [data / f'JPEGImages/c05_{k}.jpg' for k in range(5)]
    support = '--mask-value', 5, '--support', images[0], data / 'SegmentationClassAug/c05_0.png', '--name', 'five'
    command = CONFIGS / 'tiny_1shot.py', trained_1shot[1], *images, *support, '--out', disk / 'found'
    filler = fill(disk)
    said = segment(*command)
    print(said.stderr)
    assert said.returncode == 1 and 'No space left on device' in said.stderr and f'{disk}/found' in said.stderr
    filler.write_bytes(bytes(filler.stat().st_size - 5 * 4096))
    said = segment(*command)
    print(said.stderr)
    assert said.returncode == 1 and 'No space left on device' in said.stderr and f'{disk}/found/' in said.stderr
    filler.unlink()
    said = segment(*command)
    assert said.returncode == 0, said.stderr
    assert len(list(disk.rglob('masks/*.png'))) == 5 and not list(disk.rglob('*.half'))


@pytest.mark.parametrize(
    'tool',
    ['train.py', 'test.py', 'cross_validate.py', 'segment.py', 'dataset_converters/generate_shapes.py'],
)
def test_a_read_only_folder_is_refused_before_any_work(tiny_options, trained_1shot, disk, tool):
    data = Path(tiny_options[3])
    make_read_only(disk)
    config, image = CONFIGS / 'tiny_1shot.py', data / 'JPEGImages/c05_0.jpg'
    begun = time.monotonic()
    if tool == 'segment.py':
        support = '--mask-value', 5, '--support', image, data / 'SegmentationClassAug/c05_0.png'
        said = segment(config, trained_1shot[1], image, *support, '--out', disk / 'found').stderr
    elif tool == 'dataset_converters/generate_shapes.py':
        said = run(tool, '--out', disk / 'shapes', fails=True)
    elif tool == 'cross_validate.py':
        said = run(tool, config, *tiny_options[2:-1], disk, fails=True)
    elif tool == 'test.py':
        said = run(tool, config, trained_1shot[1], *tiny_options, '--out', disk / 'out', fails=True)
    else:
        said = run(tool, config, *tiny_options[:-1], disk, fails=True)
    print(f'{tool}: {time.monotonic() - begun:.1f} s\n{said}')
    assert 'Read-only file system' in said and str(disk) in said and 'Traceback' not in said
    assert 'Epoch' not in said and 'Loads checkpoint' not in said


def test_a_file_in_place_of_the_folder_is_refused_by_every_tool_with_results(tiny_options, tmp_path):
    (tmp_path / 'file').write_text('')
    files = load_script(REPO / 'mmfss/utils/files.py')
    with pytest.raises(OSError, match=r'cannot be written \(Not a directory: .*file.*Choose another folder'):
        files.check_writable(tmp_path / 'file/runs')
    said = run('train.py', CONFIGS / 'tiny_1shot.py', *tiny_options[:-1], tmp_path / 'file/runs', fails=True)
    assert said.splitlines()[-1].startswith('train: ') and 'Not a directory' in said and 'Traceback' not in said
