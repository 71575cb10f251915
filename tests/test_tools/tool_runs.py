# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Starting the tools as a user does, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
CONFIGS = REPO / 'tests' / 'configs'
OURS = ('FOLD', 'SHOTS', 'MMFSS_DATA_ROOT', 'MMFSS_CANDIDATE_AREA', 'MMFSS_WORK_ROOT')
LAUNCHER = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_PORT', 'MASTER_ADDR')


def environment() -> dict:
    """This process's environment without what would change the runs; no GPU, one thread."""
    env = {k: v for k, v in os.environ.items() if k not in (*OURS, *LAUNCHER)}
    helpers = str(Path(__file__).parent)
    path = os.pathsep.join(filter(None, [str(REPO), helpers, env.get('PYTHONPATH')]))
    return dict(env, CUDA_VISIBLE_DEVICES='-1', OMP_NUM_THREADS='1', PYTHONPATH=path, PYTHON=sys.executable)


def start(tool: str, *args, **kwargs) -> subprocess.Popen:
    """Start ``tools/<tool>`` in the repository with one output stream."""
    command = [str(REPO / 'tools' / tool), *map(str, args)]
    if tool.endswith('.py'):
        command.insert(0, sys.executable)
    return subprocess.Popen(
        command, cwd=REPO, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kwargs
    )


def run(tool: str, *args, fails: bool = False) -> str:
    """Run a tool to its end and return what it printed.

    Raises:
        AssertionError: When it fails, or succeeds although ``fails``; shows the output's end.
    """
    process = start(tool, *args)
    output, _ = process.communicate(timeout=600)
    assert (process.returncode != 0) == fails, output[-6000:]
    return output
