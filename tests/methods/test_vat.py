# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""VAT through the model tester, and against the released code."""

import re
from pathlib import Path

import golden
import pytest
import torch
import toys
from helpers import load_script
from model_tester import ModelTester

from mmfss.conversion import ConversionError, recognise
from mmfss.conversion.files import load_into_config
from mmfss.conversion.vat import convert_vat

REPO = Path(__file__).resolve().parents[2]
LEARNER = 'hpn_learner.ours'
DECODERS = dict(pascal={}, coco={1: 96}, fss={0: 192})  # step -> width, where it is not PASCAL-5i's
LEARNED = {('r50', 'pascal'): 3_180_954, ('r50', 'coco'): 3_006_490, ('r101', 'pascal'): 3_200_538}
VAT = dict(type='VATHead', channels=32, side=32, window=2, plane_window=4)
ALL = ('layer3', 'layer2', 'layer1')


class TestVAT(ModelTester):
    """As on FSS-1000: every projection is used."""

    head = dict(VAT, appearance=ALL)


def test_a_projection_that_is_not_used_is_not_trained():
    model = toys.build(dict(type='FewShotSegmentor', backbone=toys.RESNET, decode_head=VAT))
    frozen = {name for name, p in model.decode_head.named_parameters() if not p.requires_grad}
    assert frozen == {'project.layer3.weight', 'project.layer3.bias'}


def released(backbone: str = 'r50', dataset: str = 'pascal') -> dict[str, torch.Tensor]:
    """Released names and shapes of any variant; each tensor is one number that no other has."""
    shapes = {key: tuple(shape) for key, shape in golden.case('vat_r50_pascal_1shot').released_shapes.items()}
    if backbone == 'r101':  # 23 blocks in layer3, all like the second
        second = {key: shape for key, shape in shapes.items() if key.startswith('backbone.layer3.1.')}
        for block in range(6, 23):
            shapes |= {key.replace('.1.', f'.{block}.', 1): shape for key, shape in second.items()}
        shapes |= {f'{LEARNER}.encoders.1.conv4d.0.0.{conv}_conv.weight': (64, 23, 3, 3) for conv in ('query', 'supp')}
    for step, width in DECODERS[dataset].items():
        own = f'{LEARNER}.swin_decoder.{step}.'
        changed = {key: shape for key, shape in shapes.items() if key.startswith(own)}
        shapes |= {key: _of_width(key, shape, width) for key, shape in changed.items()}
    shapes |= {'backbone.fc.weight': (1000, 2048), 'backbone.fc.bias': (1000,)}
    return {
        f'module.{key}': torch.tensor(i + 1 if key.endswith('num_batches_tracked') else i + 1.0).expand(shape)
        for i, (key, shape) in enumerate(shapes.items())
    }


def _of_width(key: str, shape: tuple[int, ...], width: int) -> tuple[int, ...]:
    """A shape of the decoder's step for tokens of another width (PASCAL-5i has 128 in the first two)."""
    if key.endswith(('relative_position_bias_table', 'relative_position_index', 'attn_mask')):
        return shape
    kept = shape[0] if '.1.weight' in key[-9:] or '.1.bias' in key[-7:] else None  # the 1x1 convolution behind it
    return tuple(kept if i == 0 and kept else side * width // 128 for i, side in enumerate(shape[:2])) + shape[2:]


@pytest.mark.parametrize('dataset', ['pascal', 'coco', 'fss'])
@pytest.mark.parametrize('backbone', ['r50', 'r101'])
def test_released_weights_load(backbone, dataset):
    state = released(backbone, dataset)
    assert recognise(state).name == 'vat'
    variant, converted = convert_vat(state)
    assert (variant.backbone, variant.dataset) == (backbone, dataset)
    assert variant.config == f'configs/vat/{backbone}_{dataset}_1shot.py'
    loaded = load_into_config(variant, converted)
    unused = re.compile(r'.+(attn_mask|_index)|.+\.ours\.transformer\.\d\.transformer\.norm\.\w+|.+\.fc\.\w+')
    kept = [value for key, value in state.items() if not unused.fullmatch(key)]
    assert len(loaded) == len(kept) == len(converted)
    numbers = [sorted(float(t.flatten()[0]) for t in tensors) for tensors in (loaded.values(), kept)]
    assert numbers[0] == numbers[1], 'each weight once, with its values'
    if count := LEARNED.get((backbone, dataset)):
        own = sum(value.numel() for key, value in converted.items() if key.startswith('decode_head.'))
        assert own == count - 3 * 2 * 128  # the norms that the released code never applies
    with pytest.raises(ConversionError, match='its decoder reads'):
        convert_vat(state, 'coco' if dataset == 'pascal' else 'pascal')


def test_the_tool(tmp_path, monkeypatch, capsys):
    content = dict(epoch=3, val_miou=0.5, optimizer={}, scheduler={}, state_dict=released('r50', 'coco'))
    torch.save({**content, 'state_dict': {k: v.clone() for k, v in content['state_dict'].items()}}, tmp_path / 'a.pt')
    args = ['vat2mmfss', str(tmp_path / 'a.pt'), str(tmp_path / 'b.pth'), '--fold', '2']
    monkeypatch.setattr('sys.argv', args)
    load_script(REPO / 'tools/model_converters/vat2mmfss.py').main()
    assert 'ResNet-50, COCO-20i' in capsys.readouterr().out
    written = torch.load(tmp_path / 'b.pth', weights_only=True)
    assert written['meta']['dataset_meta']['fold'] == 2
    assert written['state_dict']['decode_head.decode.transformers.1.norm.weight'].shape == (96,)


def test_wrong_heads_are_refused():
    def build(backbone=toys.RESNET, **options):
        toys.build(dict(type='FewShotSegmentor', backbone=backbone, decode_head=dict(VAT, **options)))

    with pytest.raises(ValueError, match="appearance=.*has .'layer4'.; choose of"):
        build(appearance=('layer4',))
    with pytest.raises(ValueError, match='last block of layer1'):
        build(toys.VGG)
    with pytest.raises(ValueError, match='VATHead: side=48'):
        build(side=48)


@pytest.mark.slow
@pytest.mark.parametrize('case', golden.cases('vat'))
def test_golden_case(case):
    golden.assert_parity(case)
