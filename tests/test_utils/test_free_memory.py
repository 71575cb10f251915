# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Free memory, as the system and the limit of a container say."""

import pytest

from mmfss.utils.free_memory import free_memory

GIB = 2**30


@pytest.fixture
def system(tmp_path):
    (tmp_path / 'proc').mkdir()
    (tmp_path / 'proc/meminfo').write_text(f'MemTotal: 99 kB\nMemAvailable: {4 * GIB // 1024} kB\n')
    return tmp_path


def write_limit(system, limit: str, used: int, folder: str = '', names=('memory.max', 'memory.current')) -> None:
    place = system / 'sys/fs/cgroup' / folder
    place.mkdir(parents=True, exist_ok=True)
    for name, number in zip(names, (limit, used), strict=True):
        (place / name).write_text(f'{number}\n')


def test_what_the_system_calls_available(system):
    assert free_memory('cpu', system) == 4 * GIB
    write_limit(system, 'max', GIB)
    assert free_memory('cpu', system) == 4 * GIB


def test_the_limit_of_a_container_counts_if_it_leaves_less(system):
    write_limit(system, str(3 * GIB), GIB)
    assert free_memory('cpu', system) == 2 * GIB
    write_limit(system, str(2 * GIB), GIB, 'memory', ('memory.limit_in_bytes', 'memory.usage_in_bytes'))
    assert free_memory('cpu', system) == GIB


def test_this_machine_has_some():
    assert 0 < free_memory() < 2**50


def test_a_system_that_does_not_tell(tmp_path):
    assert free_memory('cpu', tmp_path) > 0
