# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Packaging of mmfss; everything else about the project is in pyproject.toml and requirements/."""

import shutil
import sys
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
MIM = ROOT / 'mmfss' / '.mim'
SHIPPED = ('configs', 'tools', 'model-index.yml')
LINKING_COMMANDS = {'develop', 'editable_wheel'}  # `pip install -e .`, before and after PEP 660
COPYING_COMMANDS = {'sdist', 'bdist_wheel', 'install', 'bdist'}


def read_version() -> str:
    """The version string, read without importing mmfss (its dependencies are not there yet)."""
    scope: dict = {}
    exec((ROOT / 'mmfss' / 'version.py').read_text(), scope)
    return scope['__version__']


def read_requirements(name: str) -> list[str]:
    """The requirement lines of ``requirements/<name>.txt``; ``-r other.txt`` lines are followed."""
    lines: list[str] = []
    for raw in (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines():
        line = raw.split(' #')[0].strip()
        if line.startswith('-r '):
            lines += read_requirements(Path(line[3:].strip()).stem)
        elif line and not line.startswith('#'):
            lines.append(line)
    return lines


def clear_mim() -> None:
    """Empty ``mmfss/.mim`` without ever following a link into the real configs."""
    if not MIM.is_dir():
        return
    for entry in MIM.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    MIM.rmdir()


def fill_mim(link: bool) -> None:
    """Make configs, tools and the model index part of the package, where OpenMIM looks for them.

    Args:
        link (bool): Link (an editable install shows later edits) or copy (a wheel holds the files).
    """
    clear_mim()
    MIM.mkdir(parents=True)
    for name in SHIPPED:
        source, target = ROOT / name, MIM / name
        if link:
            try:
                target.symlink_to(Path('..', '..', name), target_is_directory=source.is_dir())
                continue
            except OSError:  # Windows without the right to make links
                pass
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copy2(source, target)


def main() -> None:
    """Fill ``.mim`` for the command at hand and hand over to setuptools."""
    commands = set(sys.argv[1:])
    was_linked = MIM.is_dir() and any(entry.is_symlink() for entry in MIM.iterdir())
    copying = bool(commands & COPYING_COMMANDS)
    if commands & LINKING_COMMANDS:
        fill_mim(link=True)
    elif copying:
        fill_mim(link=False)
    try:
        setup(
            name='mmfss',
            version=read_version(),
            description='Few-shot semantic segmentation on OpenMMLab',
            long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
            long_description_content_type='text/markdown',
            author='mmfss contributors',
            license='Apache-2.0',
            keywords='computer vision, few-shot learning, semantic segmentation, OpenMMLab',
            python_requires='>=3.10',
            packages=find_packages(include=['mmfss', 'mmfss.*']),
            include_package_data=True,
            install_requires=read_requirements('runtime') + read_requirements('mminstall'),
            extras_require={
                'tests': read_requirements('tests'),
                'optional': read_requirements('optional'),
                'demo': read_requirements('demo'),
                'deploy': read_requirements('deploy'),
            },
            zip_safe=False,
        )
    finally:
        # A copy left behind would go stale beside the real files: only built archives keep one.
        if copying:
            clear_mim()
            if was_linked:
                fill_mim(link=True)


main()
