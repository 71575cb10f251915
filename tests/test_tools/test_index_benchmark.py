# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import json
from pathlib import Path

import pytest
from tool_runs import run


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/smaps_rollup').is_file(), reason='memory is read from /proc')
def test_the_lists_are_measured(tmp_path):
    run(
        'analysis_tools/index_benchmark.py',
        *('--images', 400, '--workers', 2, '--items', 2, '--start-methods', 'fork'),
        *('--folder', tmp_path, '--json', tmp_path / 'out.json'),
    )
    (result,) = json.loads((tmp_path / 'out.json').read_text())['results']
    assert result['images'] == 400
    for key in ('cold_s', 'cached_s', 'evaluation_s', 'pickled_mb', 'fork_private_mb', 'images_per_second'):
        assert result[key] > 0, key
    assert [path.name for path in tmp_path.iterdir()] == ['out.json'], 'its files are gone'
