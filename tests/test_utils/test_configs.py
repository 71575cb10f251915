# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import pytest

from mmfss.utils.configs import config_name, find_config, resolve_config, type_name


def test_a_config_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_config('configs/_base_/default_runtime.py').is_file()
    with pytest.raises(FileNotFoundError, match='tried nowhere.py'):
        resolve_config('nowhere.py')


def test_models_by_name(tmp_path, monkeypatch):
    by_name = find_config('msanet_shapes_1shot')
    assert by_name.pretty_text == find_config('quickstart/msanet_shapes_1shot').pretty_text
    assert by_name.pretty_text == find_config('configs/quickstart/msanet_shapes_1shot.py').pretty_text
    assert find_config(by_name) is by_name
    for i, folder in enumerate('xy'):
        (tmp_path / 'configs' / folder).mkdir(parents=True)
        (tmp_path / 'configs' / folder / 'r50.py').write_text(f'a = {1 + i}')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="several configs are called 'r50': x/r50, y/r50"):
        find_config('r50')
    assert find_config('x/r50').a == 1
    with pytest.raises(FileNotFoundError, match="no model 'lite0_pascal_1shots'. Near are: lite0_pascal_1shot"):
        find_config('lite0_pascal_1shots')
    with pytest.raises(FileNotFoundError, match='There is no config nowhere.py'):
        find_config('nowhere.py')


def test_a_config_is_called_by_its_place_below_configs():
    for path in ('configs/bam/r50.py', '/repo/configs/bam/r50.py', '/configs/x/configs/bam/r50.py'):
        assert config_name(path) == 'bam/r50'
    assert config_name('/mine/r50.py') == config_name('r50') == 'r50'


class Part:
    """A component that a config may name by its class."""


@pytest.mark.parametrize(
    'config, name',
    [
        (dict(type='Part'), 'Part'),
        (dict(type='mmfss.Part'), 'Part'),
        (dict(type=Part), 'Part'),
        (dict(size=3), ''),
        (Part(), ''),
    ],
)
def test_the_name_of_a_type_has_no_scope(config, name):
    assert type_name(config) == name
