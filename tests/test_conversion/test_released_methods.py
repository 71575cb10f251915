# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Which method released weights are of, and what a method must say about itself."""

import shlex

import golden
import pytest
import torch
from released_states import base_learner, converter, imagenet, released

from mmfss.conversion import METHODS, ConversionError, ReleasedMethod, recognise, register
from mmfss.conversion.msanet import convert_msanet
from mmfss.conversion.variant import told_dataset


def bam(state: dict) -> dict:
    """The same weights as a BAM would have them: without attention and similarity."""
    state = {k: v for k, v in state.items() if not k.startswith(('gam.', 'hyper_final.'))}
    return {**state, 'init_merge.0.weight': torch.zeros(256, 513, 1, 1)}


def test_methods_are_recognised_by_their_weights():
    state = released('vgg16')
    assert recognise(state).name == 'msanet'
    assert recognise({f'module.{k}': v for k, v in state.items()}).name == 'msanet'
    assert recognise(base_learner(state)).name == 'pspnet'
    assert recognise(bam(state)).name == 'bam'
    for other in (imagenet(released('r50')), {}):
        with pytest.raises(ConversionError, match='of no known method .*MSANet'):
            recognise(other)


def test_a_new_method_is_one_registration(monkeypatch):
    known = METHODS['msanet']
    for name, recognises in (('toy', lambda state: 'toy' in state), ('other', lambda state: 'other' in state)):
        toy = ReleasedMethod(name, f'the {name}', recognises, known.convert)
        monkeypatch.setitem(METHODS, name, toy)
        assert register(toy) is toy and recognise({name: torch.ones(1)}) is toy
    with pytest.raises(ConversionError, match='may be of several methods: the toy, the other'):
        recognise(dict(toy=torch.ones(1), other=torch.ones(1)))
    with pytest.raises(ValueError, match="'msanet' already: MSANet"):
        register(ReleasedMethod('msanet', 'another', known.recognises, known.convert))


def test_the_data_set_that_the_user_says_is_compared_or_asked_for():
    state = released('vgg16', 'coco')
    assert convert_msanet(state, 'coco') == convert_msanet(state)
    with pytest.raises(ConversionError, match='has 61 outputs: it is of COCO-20i, not of pascal'):
        convert_msanet(state, 'pascal')
    assert told_dataset('pascal') == 'pascal'
    with pytest.raises(ConversionError, match='--dataset pascal or coco'):
        told_dataset(None)


def test_the_general_tool_knows_the_method_and_the_folds(tmp_path, monkeypatch, capsys):
    source, target = tmp_path / 'a.pth', tmp_path / 'b.pth'
    torch.save({k: v.clone() for k, v in base_learner(released('vgg16')).items()}, source)
    with pytest.raises(SystemExit, match='--fold 4: PASCAL-5i has the folds 0 to 3'):
        converter('released2mmfss', monkeypatch, source, target, '--fold', '4')
    assert not target.exists()
    converter('released2mmfss', monkeypatch, source, target, '--fold', '3')
    assert 'config:  configs/pspnet/vgg16_pascal.py' in capsys.readouterr().out and target.is_file()


def test_the_printed_test_command_can_be_pasted_into_a_shell(tmp_path, monkeypatch, capsys):
    source, target = tmp_path / 'a.pth', tmp_path / 'b.pth'
    torch.save({k: v.clone() for k, v in released('vgg16', shots=5).items()}, source)
    converter('msanet2mmfss', monkeypatch, source, target, '--fold', '3')
    command = capsys.readouterr().out.split('test it: ')[1]
    assert '"(' in command or "'" in command, 'bash refuses an unquoted bracket'
    assert shlex.split(command)[-2:] == ['--cfg-options', 'model.decode_head.last_shot_groups=(2,)']


def test_a_released_repri_file_becomes_a_checkpoint(tmp_path, monkeypatch, capsys):
    """Training checkpoint of data-parallel weights -> file of the config's model, every tensor under its own name."""
    source, target = tmp_path / 'best.pth', tmp_path / 'repri.pth'
    released = golden.released_weights('repri_r50_pascal_5shot')
    state = {f'module.{key}': value for key, value in released.items()}
    torch.save(dict(epoch=99, state_dict=state, optimizer=dict(state={}, param_groups=[])), source)
    with pytest.raises(SystemExit, match='has 16 outputs: it is of PASCAL-5i, not of coco'):
        converter('repri2mmfss', monkeypatch, source, target, '--dataset', 'coco')
    converter('repri2mmfss', monkeypatch, source, target, '--fold', '2')
    said = capsys.readouterr().out
    assert 'ResNet-50, PASCAL-5i' in said and 'config:  configs/repri/r50_pascal_1shot.py' in said
    written = torch.load(target, weights_only=True)
    assert written['meta']['dataset_meta']['fold'] == 2 and len(written['state_dict']) == len(released)
    names = {
        'layer0.3.weight': 'backbone.stem.3.weight',
        'layer4.2.conv3.weight': 'backbone.layer4.2.conv3.weight',
        'ppm.features.2.1.weight': 'neck.base_head.psp_modules.2.1.conv.weight',
        'ppm.features.3.2.running_var': 'neck.base_head.psp_modules.3.1.bn.running_var',
        'bottleneck.0.weight': 'neck.base_head.bottleneck.conv.weight',
        'bottleneck.1.bias': 'neck.base_head.bottleneck.bn.bias',
        'classifier.weight': 'neck.base_head.conv_seg.weight',
    }
    assert all(torch.equal(written['state_dict'][ours], released[theirs]) for theirs, ours in names.items())
    first, second = (
        sorted(float(value.double().sum()) for value in side.values()) for side in (released, written['state_dict'])
    )
    assert first == pytest.approx(second, rel=1e-9, abs=1e-9)
    with pytest.raises(SystemExit, match='unknown keys'):
        converter('bam2mmfss', monkeypatch, source, target)
