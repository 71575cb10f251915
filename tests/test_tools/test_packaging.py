# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import importlib
import shutil
import subprocess
import sys
import zipfile

import mmengine
import mmseg.registry
import pytest
from tool_runs import REPO, environment

import mmfss
from mmfss import registry


def test_the_registries_are_children_of_mmsegs():
    assert len(registry.__all__) == 21
    for name in registry.__all__:
        ours = getattr(registry, name)
        assert ours.scope == 'mmfss'
        assert ours.parent is getattr(mmseg.registry, name)


PARTS = dict(
    MODELS=('BaseLearnerEnsemble', 'MSANetHead', 'mmseg.PSPHead'),
    DATASETS=('EpisodicDataset', 'Pascal5iDataset'),
    TRANSFORMS=('PackEpisodeInputs',),
    METRICS=('FewShotIoUMetric',),
    HOOKS=('CheckpointGuardHook', 'EpisodeVisualizationHook'),
    VISUALIZERS=('EpisodeVisualizer',),
    TASK_UTILS=('BamProtocol',),
)


def test_importing_mmfss_is_enough_to_find_its_parts():
    # In a process of its own: other tests have imported the modules already.
    code = f"""
from mmengine.registry import init_default_scope
import mmfss
init_default_scope('mmfss')
for kind, names in {PARTS}.items():
    for name in names:
        assert getattr(mmfss.registry, kind).get(name) is not None, name
"""
    subprocess.run([sys.executable, '-c', code], check=True, env=environment(), cwd='/')


def test_packages_that_are_too_old_are_refused(monkeypatch):
    monkeypatch.setattr(mmengine, '__version__', '0.7.0')
    with pytest.raises(ImportError, match='needs mmengine >= .* pip install'):
        importlib.reload(mmfss)


def test_packages_that_are_newer_than_any_tried_only_warn(monkeypatch):
    monkeypatch.setattr(mmengine, '__version__', '9.0.0')
    with pytest.warns(UserWarning, match='mmengine 9.0.0 may behave differently'):
        importlib.reload(mmfss)


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A copy of what packaging reads, so that building does not disturb the repository."""
    target = tmp_path_factory.mktemp('source')
    for name in (
        'setup.py',
        'pyproject.toml',
        'MANIFEST.in',
        'README.md',
        'CHANGELOG.md',
        'LICENSE',
        'model-index.yml',
        'requirements.txt',
    ):
        shutil.copy(REPO / name, target)
    for name in ('mmfss', 'configs', 'tools', 'requirements'):
        shutil.copytree(REPO / name, target / name, symlinks=True, ignore=shutil.ignore_patterns('__pycache__', '.mim'))
    return target


def setup_py(source, *args):
    pytest.importorskip('setuptools')
    subprocess.run(
        [sys.executable, 'setup.py', '-q', *args], cwd=source, check=True, env=environment(), capture_output=True
    )


def test_a_wheel_holds_configs_tools_and_model_index(source, tmp_path):
    setup_py(source, 'bdist_wheel', '--dist-dir', tmp_path)
    (wheel,) = tmp_path.glob('mmfss-*.whl')
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        'mmfss/.mim/configs/_base_/default_runtime.py',
        'mmfss/.mim/tools/train.py',
        'mmfss/.mim/tools/dist_train.sh',
        'mmfss/.mim/model-index.yml',
        'mmfss/engine/stages.py',
        'mmfss/weights/lite0_photos.pth',
    ):
        assert name in names
    assert not (source / 'mmfss' / '.mim').exists(), 'a copy left behind would go stale'
    metadata = zipfile.ZipFile(wheel).read(next(n for n in names if n.endswith('METADATA')))
    assert b'onedl-mmsegmentation' in metadata and b'torch' in metadata


def test_an_editable_install_links_them(source, tmp_path):
    setup_py(source, 'editable_wheel', '--dist-dir', tmp_path)
    link = source / 'mmfss' / '.mim' / 'configs'
    assert link.is_symlink() and link.resolve() == (source / 'configs').resolve()


def test_pip_needs_nothing_that_is_not_listed():
    text = (REPO / 'setup.py').read_text()
    assert 'pkg_resources' not in text and 'import torch' not in text
