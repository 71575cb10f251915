# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""docs/add_a_method.md: its four files, put into a checkout, are a method that trains, tests and converts."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

REPO = Path(__file__).resolve().parents[2]
PAGE = REPO / 'docs/add_a_method.md'
FILES = dict(re.findall(r'```python\n# (\S+\.py)\n(.*?)```', PAGE.read_text(), flags=re.DOTALL))


@pytest.fixture(scope='module')
def checkout(tmp_path_factory) -> Path:
    """A copy of the repository's code with the page's files, as a reader has it."""
    root = tmp_path_factory.mktemp('checkout')
    for name in ('mmfss', 'configs', 'tools', 'tests'):
        shutil.copytree(REPO / name, root / name, ignore=shutil.ignore_patterns('__pycache__', '.mim', '*.npz'))
    shutil.copy(REPO / 'pyproject.toml', root)
    for name, text in FILES.items():
        path = root / name
        assert not path.exists(), f'{name} is a file of its own already: the page would overwrite it'
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return root


def run(checkout: Path, *command: str) -> str:
    """A Python command in the copy; returns what it prints."""
    environment = dict(os.environ, PYTHONPATH=str(checkout), OMP_NUM_THREADS='1')
    found = subprocess.run([sys.executable, *command], cwd=checkout, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    return found.stdout


def test_the_page_holds_all_four_files_and_names_others_that_exist():
    assert [str(Path(name).parent) for name in FILES] == [
        'mmfss/models/decode_heads',
        'configs/cosine',
        'mmfss/conversion',
        'tests/methods',
    ]
    names = re.findall(r'`((?:mmfss|configs|tools|tests|demo|decode_heads|segmentors)/[\w/.]+)', PAGE.read_text())
    for name in (name for name in names if 'NAME' not in name and name not in FILES):
        found = [root / name for root in (REPO, REPO / 'mmfss/models') if (root / name).exists()]
        assert found, f'the page names {name}, which is missing'


def test_its_test_passes(checkout):
    assert 'passed' in run(checkout, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', 'tests/methods/test_cosine.py')


def test_released_weights_are_recognised_and_fit_its_config(checkout, tmp_path):
    code = f"""
import golden, torch
state = {{k: v for k, v in golden.released_weights('pfenet_r50_pascal_5shot').items() if k.startswith('layer')}}
state |= {{'embedding.weight': torch.ones(256, 1024, 1, 1), 'embedding.bias': torch.ones(256),
          'temperature': torch.tensor(7.)}}
torch.save({{f'module.{{k}}': v for k, v in state.items()}}, '{tmp_path}/released.pth')
"""
    shutil.copy(REPO / 'tests/data/golden/pfenet_r50_pascal_5shot.npz', checkout / 'tests/data/golden')
    run(checkout, '-c', f'import sys; sys.path.insert(0, "tests")\n{code}')
    source, target = str(tmp_path / 'released.pth'), tmp_path / 'converted.pth'
    arguments = (source, str(target), '--dataset', 'pascal', '--fold', '0')
    printed = run(checkout, 'tools/model_converters/released2mmfss.py', *arguments)
    assert 'configs/cosine/r50_pascal_1shot.py' in printed
    state = torch.load(target, weights_only=True)['state_dict']
    assert state['decode_head.scale'] == 7 and 'backbone.layer4.2.conv3.weight' in state
