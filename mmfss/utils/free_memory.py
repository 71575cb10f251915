# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""How much memory a process may still take, in a container too."""

import os
from pathlib import Path

import torch

# (limit, in use) of the control group, version 2 and 1, as a container sees its own.
_GROUPS = (('memory.max', 'memory.current'), ('memory/memory.limit_in_bytes', 'memory/memory.usage_in_bytes'))


def free_memory(device: torch.device | str = 'cpu', system: Path = Path('/')) -> int:
    """Bytes that are free on a device.

    On the CPU what the system calls available, or what the limit of a container leaves if that is less; a GPU tells
    itself.

    Args:
        device (torch.device | str): 'cpu', or a GPU.
        system (Path): Where ``proc`` and ``sys`` are. Defaults to the root of the file system.
    """
    device = torch.device(device)
    if device.type == 'cuda':
        return torch.cuda.mem_get_info(device)[0]
    free = _available(system / 'proc/meminfo')
    for limit, used in _GROUPS:
        limit, used = (_number(system / 'sys/fs/cgroup' / name) for name in (limit, used))
        if limit is not None and used is not None:
            free = min(free, max(limit - used, 0))
    return free


def _available(meminfo: Path) -> int:
    """``MemAvailable`` of Linux; elsewhere half of the memory that is built in."""
    try:
        lines = dict(line.split(':', 1) for line in meminfo.read_text().splitlines())
        return int(lines['MemAvailable'].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // 2


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such group, or 'max'
        return None
