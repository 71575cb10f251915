# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Fixtures that every test may use."""

import logging
import os
from pathlib import Path

import pytest
from helpers import scenes, write_voc
from mmengine.logging import MMLogger


@pytest.fixture(scope='session', autouse=True)
def own_cache(tmp_path_factory):
    """Class indexes of read-only data go to a folder of this test session."""
    before = os.environ.get('MMFSS_CACHE')
    os.environ['MMFSS_CACHE'] = str(tmp_path_factory.mktemp('cache'))
    yield
    os.environ.pop('MMFSS_CACHE')
    if before is not None:
        os.environ['MMFSS_CACHE'] = before


@pytest.fixture(scope='session')
def voc(tmp_path_factory) -> Path:
    """Data root of a small VOC-layout set (see :func:`helpers.scenes`); not to be changed."""
    return write_voc(tmp_path_factory.mktemp('voc'), train=scenes('train'), val=scenes('val'))


@pytest.fixture
def own_voc(tmp_path) -> Path:
    """The same set, for tests that break it."""
    return write_voc(tmp_path / 'voc', train=scenes('train'), val=scenes('val'))


@pytest.fixture
def logged():
    """Messages that MMEngine's current logger gets during the test."""
    messages = []

    class Keeper(logging.Handler):
        def emit(self, record):
            messages.append(record.getMessage())

    logger, keeper = MMLogger.get_current_instance(), Keeper()
    logger.addHandler(keeper)
    yield messages
    logger.removeHandler(keeper)


@pytest.fixture(scope='session')
def shared() -> Path:
    """Real data that some machines have; tests that use it are extra."""
    root = Path(os.environ.get('MMFSS_SHARED') or Path(__file__).parents[2] / 'shared')
    if not (root / 'data').is_dir():
        pytest.skip('needs the real data (MMFSS_SHARED)')
    return root
