# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import pytest
from tool_runs import run


@pytest.mark.slow
def test_the_operations_of_a_recipe_are_counted():
    output = run('analysis_tools/training_cost.py', '--recipes', 'r50_pascal', '--peak', '100', '--utilisation', '0.5')
    rows = [line.split('|')[1:-1] for line in output.splitlines() if line.startswith('| r50_pascal')]
    assert [row[1].strip() for row in rows] == ['base learner', '1-shot', '5-shot']
    train, test = ([float(row[i].replace(',', '')) for row in rows] for i in (3, 4))
    # Backward costs twice the forward pass where all learns, and little where the backbone is frozen.
    assert train[0] == pytest.approx(3 * test[0], rel=0.02)
    assert test[1] < train[1] < 1.3 * test[1] and train[2] > 2 * train[1]
    assert '12' in output.splitlines()[-1]


def test_an_impossible_share_is_refused():
    output = run('analysis_tools/training_cost.py', '--utilisation', '1.5', fails=True)
    assert output.splitlines()[-1].startswith('training_cost: --peak and --gpus must be above 0')
