# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import sys
from pathlib import Path

import pytest
from mmengine.registry import DefaultScope

sys.path.append(str(Path(__file__).parents[1] / 'test_models'))  # toys.py


@pytest.fixture(autouse=True)
def scope():
    """Configs name their types without a prefix, as under the runner."""
    with DefaultScope.overwrite_default_scope('mmfss'):
        yield
