# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What the other processes of a run do when one of them dies, fails or hangs."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
from tool_runs import CONFIGS, start

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != 'linux', reason='looks processes up in /proc'),
]


def processes_of(folder: Path) -> dict[int, dict[str, str]]:
    """Living processes that have a folder among their arguments, and their environments."""
    found = {}
    for process in Path('/proc').glob('[0-9]*'):
        try:
            state = (process / 'stat').read_text().rpartition(')')[2].split()[0]
            arguments = (process / 'cmdline').read_text().split('\0')
            pairs = (process / 'environ').read_text().split('\0')
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if state != 'Z' and str(folder) in arguments:
            found[int(process.name)] = dict(pair.split('=', 1) for pair in pairs if '=' in pair)
    return found


def rank_of(folder: Path, rank: int) -> int:
    """Process id of a rank."""
    (pid,) = (pid for pid, variables in processes_of(folder).items() if variables.get('RANK') == str(rank))
    return pid


def run_until(line: str, *args) -> tuple:
    """Start a tool and read what it prints until a line matches; the process and all it has printed."""
    process, said = start(*args, start_new_session=True), []
    for text in process.stdout:
        said.append(text)
        if re.search(line, text):
            return process, said
    raise AssertionError(''.join(said)[-4000:])


def end_of(process, folder: Path) -> tuple[str, float]:
    """What a run still prints, and the seconds until none of its processes is left."""
    begun = time.monotonic()
    output = process.communicate(timeout=180)[0]
    while processes_of(folder) and time.monotonic() - begun < 180:
        time.sleep(0.1)
    seconds = time.monotonic() - begun
    print(f'all processes ended after {seconds:.1f} s\n{output}')
    return output, seconds


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path):
    """A test that fails leaves no training that lasts for ever."""
    yield
    for pid in processes_of(tmp_path):
        os.kill(pid, signal.SIGKILL)


def train(config, tiny_options, folder, *options):
    """Start a training of two processes that would last for ever, and wait for its first iteration."""
    options = 'train_cfg.max_epochs=1000', 'default_hooks.logger.interval=1', *options
    return run_until(
        r'Epoch\(train\)',
        'dist_train.sh',
        CONFIGS / config,
        2,
        *tiny_options[:-1],
        folder,
        '--cfg-options',
        *options,
    )[0]


def test_a_training_whose_process_is_killed_ends_within_a_minute(tiny_options, tmp_path):
    process = train('tiny_base.py', tiny_options, tmp_path)
    os.kill(pid := rank_of(tmp_path, 1), signal.SIGKILL)
    output, seconds = end_of(process, tmp_path)
    assert seconds < 60 and process.returncode not in (0, None)
    assert re.search(rf'Signal 9 \(SIGKILL\) received by PID {pid}', output)


def test_a_test_whose_process_is_killed_ends_within_a_minute(trained_1shot, tiny_options, tmp_path):
    episodes = '--cfg-options', 'test_dataloader.dataset.protocol.episodes=4000', 'default_hooks.logger.interval=1'
    process, _ = run_until(
        r'Epoch\(test\)',
        'dist_test.sh',
        CONFIGS / 'tiny_1shot.py',
        trained_1shot[1],
        2,
        *tiny_options,
        '--work-dir',
        tmp_path,
        *episodes,
    )
    os.kill(pid := rank_of(tmp_path, 1), signal.SIGKILL)
    output, seconds = end_of(process, tmp_path)
    assert seconds < 60 and process.returncode not in (0, None)
    assert re.search(rf'Signal 9 \(SIGKILL\) received by PID {pid}', output)
    assert not list(tmp_path.rglob('results_*.json'))


def test_a_process_that_fails_ends_the_others_and_its_words_are_there(tiny_options, tmp_path):
    process = train('tiny_failing_rank.py', tiny_options, tmp_path)
    output, seconds = end_of(process, tmp_path)
    assert seconds < 60 and process.returncode not in (0, None)
    assert 'process 1 has had enough' in output


def test_a_process_that_hangs_is_waited_for_as_long_as_the_config_says(tiny_options, tmp_path):
    process = train('tiny_base.py', tiny_options, tmp_path, 'env_cfg.dist_cfg.timeout=10')
    os.kill(rank_of(tmp_path, 1), signal.SIGSTOP)
    output, seconds = end_of(process, tmp_path)
    assert seconds < 60 and process.returncode not in (0, None)
    assert 'process 0 lost another process of this run' in output and 'env_cfg.dist_cfg.timeout' in output


def test_processes_end_with_the_launcher_that_started_them(tiny_options, tmp_path):
    process = train('tiny_base.py', tiny_options, tmp_path)
    process.kill()
    _, seconds = end_of(process, tmp_path)
    assert seconds < 60 and not processes_of(tmp_path)
