# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Two profiles: a few fixed cases in every test run; `make fuzz` (FUZZ_MINUTES) draws new ones until time is up."""

import json
import os
import time
from collections import Counter
from pathlib import Path

import fuzzing
import pytest
from hypothesis import HealthCheck, configuration, settings

MINUTES = float(os.environ.get('FUZZ_MINUTES') or 0)
REPORT_EVERY = 20  # seconds
_cases: Counter = Counter()

configuration.set_hypothesis_home_dir(Path(__file__).parents[2] / '.hypothesis')
_common = dict(deadline=None, suppress_health_check=list(HealthCheck))  # each case has its own limit
settings.register_profile('quick', max_examples=20, derandomize=True, database=None, **_common)
settings.register_profile('campaign', max_examples=200, print_blob=True, **_common)
settings.load_profile('campaign' if MINUTES else 'quick')


def pytest_configure(config):
    """A campaign reads from a file where a case was stuck: pytest keeps stderr."""
    if place := os.environ.get('FUZZ_REPORT'):
        fuzzing.stack_file = open(f'{place}.stack', 'w')


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """In a campaign, one test after another is run again and again for its share of the time."""
    before = fuzzing.tried
    try:
        if not MINUTES:
            return None
        arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
        share = MINUTES * 60 / len(pyfuncitem.session.items)
        end = time.monotonic() + share
        said = time.monotonic()
        while (now := time.monotonic()) < end:
            pyfuncitem.obj(**arguments)
            if now - said > REPORT_EVERY:
                said = now
                _say(pyfuncitem, f'{pyfuncitem.name}: {fuzzing.tried - before:,} cases, {end - now:.0f} s left')
        _say(pyfuncitem, f'{pyfuncitem.name}: {fuzzing.tried - before:,} cases')
        return True
    finally:
        _cases[pyfuncitem.path.stem] += fuzzing.tried - before


def _say(item, text: str) -> None:
    reporter = item.config.pluginmanager.get_plugin('terminalreporter')
    reporter.ensure_newline()
    reporter.write_line(f'  {text}')


def pytest_sessionfinish(session):
    """How many cases were tried, for the campaign."""
    if path := os.environ.get('FUZZ_REPORT'):
        Path(path).write_text(json.dumps(dict(cases=sum(_cases.values()), failed=session.testsfailed)))
