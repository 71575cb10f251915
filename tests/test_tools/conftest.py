# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import pytest
from tiny_voc import write_tiny_voc
from tool_runs import CONFIGS, run


@pytest.fixture(scope='session')
def tiny_options(tmp_path_factory):
    """Options that point the tools to a tiny data set and a work root shared by all tests."""
    root = tmp_path_factory.mktemp('tools')
    return ['--fold', '1', '--data-root', write_tiny_voc(root / 'VOC'), '--work-root', root / 'work_dirs']


@pytest.fixture(scope='session')
def work_root(tiny_options):
    """The work root of :func:`tiny_options`."""
    return tiny_options[-1]


@pytest.fixture(scope='session')
def trained_1shot(tiny_options, work_root):
    """Both stages trained by one process: what train.py printed, and the best checkpoint."""
    output = run('train.py', CONFIGS / 'tiny_1shot.py', *tiny_options)
    return output, next((work_root / 'tiny_1shot' / 'fold1').glob('best_mIoU_*.pth'))
