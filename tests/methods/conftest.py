# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import pytest
from mmengine.registry import DefaultScope

pytest.register_assert_rewrite('model_tester')


@pytest.fixture(autouse=True)
def scope():
    """Configs name their types without a prefix, as under the runner."""
    with DefaultScope.overwrite_default_scope('mmfss'):
        yield
