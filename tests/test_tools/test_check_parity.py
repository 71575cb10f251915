# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The parity command: on cases it has never seen, and where something is off."""

import json
import shutil

import golden
import numpy as np
import pytest
import torch
from helpers import load_script

from mmfss.conversion.parity import Case, build, find_cases

TOOL = golden.FOLDER.parents[2] / 'tools' / 'analysis_tools' / 'check_parity.py'


@pytest.fixture
def tool():
    return load_script(TOOL)


def shapes_of(name: str, **changed) -> dict:
    """Released keys and shapes of a golden case, some of them changed."""
    return {**json.loads((golden.FOLDER / f'{name}.shapes.json').read_text()), **changed}


def write_case(folder, name: str, shapes: dict, shots: int, batch: int = 1, outputs=('final_logits',)) -> Case:
    """A case of another variant; its reference outputs are those of the model that its config builds."""
    for script in golden.FOLDER.glob('reference_weights*.py'):
        shutil.copy(script, folder)
    (folder / f'{name}.shapes.json').write_text(json.dumps(shapes))
    rng = np.random.default_rng(0)
    arrays = dict(
        query_img=rng.standard_normal((batch, 3, 49, 49)).astype(np.float16),
        support_img=rng.standard_normal((batch, shots, 3, 49, 49)).astype(np.float16),
        support_mask=rng.choice([0, 1, 255], (batch, shots, 49, 49)),
        query_mask=rng.choice([0, 1, 255], (batch, 49, 49)),
        query_base_mask=rng.choice([0, 1, 255], (batch, 49, 49)),
        class_index=np.zeros(batch, int),
    )
    np.savez(folder / f'{name}.npz', **arrays)
    case = next(case for case in find_cases(folder)[0] if case.name == name)
    with torch.no_grad():
        scores = build(case)(case.inputs, mode='tensor')
    found = {f'{key}_logits': score.numpy() for key, score in scores.items()}
    found['logits'] = found['final_logits']
    np.savez(folder / f'{name}.npz', **arrays, **{key: found[key] for key in outputs})
    return next(case for case in find_cases(folder)[0] if case.name == name)


def test_variants_it_has_never_seen(tool, tmp_path, capsys):
    """Other K, batches and data sets than any golden case; the config and its options follow from the weights."""
    weighting = {
        'kshot_rw.0.weight': (2, 3, 1, 1),
        'kshot_rw.0.bias': (2,),
        'kshot_rw.2.weight': (3, 2, 1, 1),
        'kshot_rw.2.bias': (3,),
    }
    coco = {'learner_base.1.4.weight': (61, 512, 1, 1), 'learner_base.1.4.bias': (61,)}
    bam = shapes_of('bam_vgg16_pascal_1shot', **coco, **weighting)
    write_case(tmp_path, 'bam_vgg16_coco_3shot_of_one_class', bam, 3, 2, ('final_logits', 'base_logits'))
    write_case(tmp_path, 'vgg16_pascal_2shot', shapes_of('vgg16_pascal_1shot'), 2)
    write_case(tmp_path, 'pfenet_r50_coco_2shot', shapes_of('pfenet_r50_pascal_5shot'), 2, outputs=('logits',))
    assert tool.main(['--golden', str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert printed.out.count('(< 1e-04)') == 3 and '3/3 vgg16_pascal_2shot: equal' in printed.err


def test_what_is_off_is_named_and_ends_with_status_1(tool, tmp_path, capsys):
    case = write_case(tmp_path, 'vgg16_pascal_1shot', shapes_of('vgg16_pascal_1shot'), 1)
    arrays = dict(np.load(tmp_path / f'{case.name}.npz'))
    arrays['final_logits'] = arrays['final_logits'] + 1e-3 * arrays['final_logits'].std()
    np.savez(tmp_path / f'{case.name}.npz', **arrays, something=np.ones(3, np.float32))
    shapes = shapes_of('vgg16_pascal_1shot')
    shapes.pop('gram_merge.weight')
    (tmp_path / 'vgg16_pascal_1shot_cut.shapes.json').write_text(json.dumps(shapes))
    np.savez(tmp_path / 'vgg16_pascal_1shot_cut.npz', **arrays)
    np.savez(tmp_path / 'newmethod_r50_pascal_1shot.npz', **arrays)
    assert tool.main(['--golden', str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert 'output/final_logits 1.0e-03' in printed.err and 'output/something inf' in printed.err
    assert 'merge_adjustment.weight' in printed.err and '**not compared**' in printed.out
    assert 'newmethod_r50_pascal_1shot' in printed.err


def test_what_has_no_gradient_there_may_be_frozen_here(tool, tmp_path, capsys):
    case = write_case(tmp_path, 'vgg16_pascal_1shot', shapes_of('vgg16_pascal_1shot'), 1)
    norms = json.loads((golden.FOLDER / 'vgg16_pascal_1shot.grads.json').read_text())
    frozen = next(key for key in case.released_shapes if key.startswith('layer1.') and key.endswith('weight'))
    for norm, reason in ((0.0, 'gradient/'), (0.5, 'learned here or there only: backbone.layer1')):
        (tmp_path / f'{case.name}.grads.json').write_text(json.dumps({**norms, frozen: norm}))
        assert tool.main(['--golden', str(tmp_path)]) == 1  # the other norms are of another episode
        found = capsys.readouterr().err
        assert reason in found and f'gradient/backbone.{frozen}' not in found


def test_the_page_gets_the_table_and_keeps_the_rest(tool, tmp_path):
    write_case(tmp_path, 'vgg16_pascal_1shot', shapes_of('vgg16_pascal_1shot'), 1)
    page = tmp_path / 'parity.md'
    page.write_text(f'# Title\n\n{tool.BEGIN}\nearlier table\n{tool.END}\n\nNotes\n')
    assert tool.main(['--golden', str(tmp_path), '--out', str(page), '--machine', 'a machine']) == 0
    text = page.read_text()
    assert text.startswith('# Title') and text.endswith('Notes\n') and 'earlier' not in text
    assert '`vgg16_pascal_1shot`' in text and 'a machine' in text and '--golden DIR' in text


@pytest.mark.parametrize(
    'options, message',
    [
        (['--methods', 'nosuch'], 'there is no nosuch; there are asgnet, bam'),
        (['--golden', '.'], 'no case in'),
        (['--out', 'missing.md'], 'a page with the lines'),
    ],
)
def test_refusals(tool, options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        tool.main(options)
    assert message in capsys.readouterr().err
