# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Released checkpoints through the converters."""

import re
from pathlib import Path

import golden
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from released_states import OUTPUTS, REPO, base_learner, converter, imagenet, released

from mmfss.conversion import ConversionError
from mmfss.conversion.files import checkpoint_meta, load_into_config, load_strictly, read_weights
from mmfss.conversion.imagenet import convert_imagenet
from mmfss.conversion.msanet import convert_msanet
from mmfss.conversion.pspnet import convert_base_learner
from mmfss.registry import DATASETS, MODELS
from mmfss.utils.checkpoint_meta import meta_differences
from mmfss.utils.weights import load_base_learner, weight_differences


@pytest.fixture(autouse=True)
def scope(monkeypatch):
    monkeypatch.delenv('FOLD', raising=False)
    init_default_scope('mmfss')


def same(state: dict, key: str, source: dict, name: str) -> bool:
    return torch.equal(state[key], source[name])


@pytest.mark.parametrize(
    'case', ['vgg16_pascal_1shot', 'r50_pascal_5shot', pytest.param('r50_pascal_1shot', marks=pytest.mark.slow)]
)
def test_the_tool_on_rebuilt_released_weights(case, tmp_path, monkeypatch, capsys):
    weights = golden.released_weights(case)
    content = dict(
        epoch=3,
        best=np.float64(0.5),
        optimizer=dict(lr=np.float32(0.1)),
        state_dict={f'module.{k}': v for k, v in weights.items()},
    )
    torch.save(content if '5shot' not in case else weights, tmp_path / 'released.pth')
    converter('msanet2mmfss', monkeypatch, tmp_path / 'released.pth', tmp_path / 'ours.pth', '--fold', '2')
    printed = capsys.readouterr().out
    config = f'configs/msanet/{case}.py'
    assert config in printed and 'PASCAL-5i (15 base classes)' in printed
    assert f'{case[-5]}-shot' in printed and '--fold 2' in printed

    ours = torch.load(tmp_path / 'ours.pth', weights_only=True)
    model = MODELS.build(Config.fromfile(REPO / config).model)
    model.load_state_dict(ours['state_dict'], strict=True)
    assert not weight_differences(model.state_dict(), ours['state_dict'])
    sums = [sorted(float(v.double().sum()) for v in state.values()) for state in (ours['state_dict'], weights)]
    assert sums[0] == pytest.approx(sums[1]), 'each weight once, with its values'
    assert same(ours['state_dict'], 'decode_head.merge.0.weight', weights, 'init_merge.0.weight')
    # What tools/test.py compares before it uses the weights.
    theirs = ours['meta']['dataset_meta']
    for fold, differences in ((2, 0), (1, 1)):
        dataset = DATASETS.build(dict(type='Pascal5iDataset', fold=fold, lazy_init=True))
        assert len(meta_differences(dataset.metainfo, theirs)) == differences


@pytest.mark.parametrize('shots', [1, 5, 3])
@pytest.mark.parametrize('dataset', ['pascal', 'coco'])
@pytest.mark.parametrize('backbone', ['vgg16', 'r50', 'r101'])
def test_every_variant_is_recognised(backbone, dataset, shots):
    variant, state = convert_msanet(released(backbone, dataset, shots))
    assert (variant.backbone, variant.dataset, variant.shots) == (backbone, dataset, shots)
    k = 1 if shots == 1 else 5
    assert variant.config == f'configs/msanet/{backbone}_{dataset}_{k}shot.py'
    assert (REPO / variant.config).is_file()
    options = {key.split('.')[-1] for key in variant.cfg_options}
    slip = backbone == 'vgg16' and shots > 1  # of the released code, which the weights were trained with
    assert options == ({'shots'} if shots == 3 else set()) | ({'last_shot_groups'} if slip else set())
    assert len(state) == len(released(backbone, dataset, shots))


@pytest.mark.parametrize(
    'backbone, dataset, shots',
    [('vgg16', 'coco', 5), ('r101', 'coco', 3), pytest.param('r50', 'coco', 1, marks=pytest.mark.slow)],
)
def test_every_backbone_and_data_set_loads_strictly(backbone, dataset, shots):
    source = released(backbone, dataset, shots)
    variant, state = convert_msanet(source)
    loaded = load_into_config(variant, state)
    values = sorted(float(v.flatten()[0]) for v in loaded.values())
    assert values == sorted(float(v.flatten()[0]) for v in source.values()), 'each weight once'
    for tensor in loaded.values():
        assert tensor.unique().numel() == 1, 'and whole'


def broken(change) -> dict:
    state = released('vgg16')
    change(state)
    return state


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda s: s.update({'extra.weight': s['init_merge.0.weight']}), 'unknown keys extra.weight'),
        (lambda s: s.pop('init_merge.0.weight'), 'missing: decode_head.merge.0.weight'),
        (lambda s: s.pop('learner_base.1.4.weight'), 'learner_base.1.4.weight is missing'),
        (lambda s: s.update({'learner_base.1.4.weight': torch.zeros(21, 512, 1, 1)}), 'has 21 outputs'),
        (
            lambda s: s.update({'layer4.0.weight': torch.zeros(8, 8, 3, 3)}),
            r'of another shape: backbone.layer4.0.weight \(8, 8, 3, 3\)',
        ),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith('layer4')], 'unknown backbone'),
    ],
)
def test_what_does_not_fit_is_refused_with_its_keys(change, message):
    with pytest.raises(ConversionError, match=message):
        load_into_config(*convert_msanet(broken(change)))


def test_a_resnet_of_another_depth_is_refused():
    state = released('r101')
    state = {k: v for k, v in state.items() if not k.startswith('layer3.22.')}
    with pytest.raises(ConversionError, match='22 blocks'):
        convert_msanet(state)


def test_a_refusal_writes_nothing(tmp_path, monkeypatch):
    source, target = tmp_path / 'a.pth', tmp_path / 'b.pth'
    torch.save(dict(state_dict={'conv.weight': torch.zeros(1)}), source)
    for name in ('msanet2mmfss', 'bam_base2mmfss', 'released2mmfss', 'pspnet_init2mmfss'):
        with pytest.raises(SystemExit) as refusal:
            converter(name, monkeypatch, source, target)
        assert refusal.value.code not in (0, None) and not target.exists()
    with pytest.raises(SystemExit, match='there is no file'):
        converter('msanet2mmfss', monkeypatch, tmp_path / 'none.pth', target)


class Payload:
    """Something that is not plain data."""


def test_files_with_objects_need_trust(tmp_path):
    path = tmp_path / 'objects.pth'
    torch.save(dict(state_dict=dict(a=torch.ones(1)), args=Payload()), path)
    with pytest.raises(ConversionError, match='add --trust-checkpoint'):
        read_weights(path)
    assert read_weights(path, trust=True).keys() == {'a'}


@pytest.mark.parametrize('content', [[1, 2], dict(epoch=1), dict(state_dict=dict(a='text'))])
def test_files_without_weights_are_refused(tmp_path, content):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(ConversionError, match='holds no state dict'):
        read_weights(tmp_path / 'a.pth')


def test_old_files_without_batch_counters_load():
    state = {k: v for k, v in released('vgg16').items() if not k.endswith('num_batches_tracked')}
    loaded = load_into_config(*convert_msanet(state))
    assert all(v == 0 for k, v in loaded.items() if k.endswith('num_batches_tracked'))


@pytest.mark.parametrize('backbone, dataset', [('r50', 'pascal'), ('vgg16', 'coco')])
def test_base_learners_serve_both_stages(backbone, dataset, tmp_path, monkeypatch, capsys):
    source = base_learner(released(backbone, dataset))
    torch.save(dict(epoch=1, state_dict={f'module.{k}': v for k, v in source.items()}), tmp_path / 'bam.pth')
    converter('bam_base2mmfss', monkeypatch, tmp_path / 'bam.pth', tmp_path / 'base_learner.pth', '--fold', '1')
    printed = capsys.readouterr().out
    assert f'configs/pspnet/{backbone}_{dataset}.py' in printed
    assert f'pspnet/{backbone}_{dataset}/fold1/base_learner.pth' in printed
    content = torch.load(tmp_path / 'base_learner.pth', weights_only=True)
    assert content['meta']['fold'] == 1
    assert len(content['meta']['base_class_names']) == OUTPUTS[dataset] - 1
    assert same(content['state_dict'], 'decode_head.conv_seg.weight', source, 'cls.4.weight')

    model = MODELS.build(Config.fromfile(REPO / f'configs/msanet/{backbone}_{dataset}_1shot.py').model)
    load_base_learner(model, str(tmp_path / 'base_learner.pth'))
    assert same(model.base_head.state_dict(), 'bottleneck.conv.weight', source, 'cls.0.weight')
    stem = dict(r50='stem.0.weight', vgg16='layer0.0.weight')[backbone]
    assert same(model.backbone.state_dict(), stem, source, 'layer0.0.weight')


def test_base_learners_may_hold_their_layers_once():
    whole = base_learner(released('vgg16'))
    variant, state = convert_base_learner(whole)
    for left_out in ('encoder.', 'layer'):
        part = {k: v for k, v in whole.items() if not k.startswith(left_out)}
        found, other = convert_base_learner(part)
        assert found == variant and other.keys() == state.keys()
    with pytest.raises(ConversionError, match='encoder.4.6.bias and layer4.6.bias .* differ'):
        convert_base_learner({**whole, 'encoder.4.6.bias': torch.zeros(512)})
    with pytest.raises(ConversionError, match='unknown keys init_merge.0.weight'):
        convert_base_learner({**whole, 'init_merge.0.weight': torch.zeros(1)})


def test_what_the_weights_do_not_say_is_left_out():
    variant, _ = convert_base_learner(base_learner(released('vgg16', 'coco')))
    meta = checkpoint_meta(variant, None)
    assert meta['fold'] is None and meta['base_class_names'] is None
    assert len(meta['dataset_meta']['class_names']) == 81
    assert 'fold' not in meta['dataset_meta']


@pytest.mark.parametrize('backbone', ['r50', pytest.param('r101', marks=pytest.mark.slow)])
def test_imagenet_weights_of_pspnet(backbone, tmp_path, monkeypatch, capsys):
    source = released(backbone)
    torch.save(imagenet(source), tmp_path / 'imagenet.pth')
    monkeypatch.setenv('MMFSS_PRETRAINED', str(tmp_path / 'weights'))
    converter('pspnet_init2mmfss', monkeypatch, tmp_path / 'imagenet.pth')
    assert f'configs/pspnet/{backbone}_coco.py' in capsys.readouterr().out
    backbone = MODELS.build(Config.fromfile(REPO / f'configs/pspnet/{backbone}_pascal.py').model.backbone)
    backbone.init_weights()  # reads the file where the config expects it
    for key, name in (
        ('stem.6.weight', 'layer0.6.weight'),
        ('stem.4.bias', 'layer0.4.bias'),
        ('layer3.5.bn2.running_var', 'layer3.5.bn2.running_var'),
    ):
        assert same(backbone.state_dict(), key, source, name)


def test_imagenet_weights_of_torchvision():
    vgg = pytest.importorskip('torchvision').models.vgg
    torch.manual_seed(0)
    features = vgg.make_layers(vgg.cfgs['D'], batch_norm=True).eval()
    state = {f'features.{k}': v for k, v in features.state_dict().items()}
    backbone, weights = convert_imagenet({**state, 'classifier.0.bias': torch.zeros(4096)})
    assert backbone == 'vgg16'
    ours = MODELS.build(dict(type='BlockVGG')).eval()
    load_strictly(ours, weights, 'BlockVGG')
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():  # at this size pools that round up make no difference
        assert torch.allclose(ours(images)[-1], features[:-1](images), atol=1e-5)


def test_imagenet_weights_of_torchvision_without_batch_norm(tmp_path, monkeypatch, capsys):
    vgg = pytest.importorskip('torchvision').models.vgg
    torch.manual_seed(0)
    features = vgg.make_layers(vgg.cfgs['D'], batch_norm=False)
    torch.save({f'features.{k}': v for k, v in features.state_dict().items()}, tmp_path / 'imagenet.pth')
    monkeypatch.setenv('MMFSS_PRETRAINED', str(tmp_path / 'weights'))
    converter('pspnet_init2mmfss', monkeypatch, tmp_path / 'imagenet.pth')
    assert 'configs/panet/vgg16_pascal_1shot.py' in capsys.readouterr().out
    ours = MODELS.build(Config.fromfile(REPO / 'configs/panet/vgg16_coco_5shot.py').model.backbone)
    ours.init_weights()  # reads the file where the config expects it
    assert len(ours.state_dict()) == 26
    for mine, given in zip(ours.state_dict().values(), features.state_dict().values(), strict=True):
        assert torch.equal(mine, given)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():  # the first conv pair, before pools that differ
        assert torch.allclose(ours.layer0[:4](images), features[:4](images), atol=1e-5)


def test_other_imagenet_weights_are_refused():
    resnet = imagenet(released('r50'))
    one_conv = {k: v for k, v in resnet.items() if not re.match(r'(conv|bn)[23]\.', k)}
    with pytest.raises(ConversionError, match='one-conv stem of torchvision'):
        convert_imagenet(one_conv)
    with pytest.raises(ConversionError, match='unknown keys patch_embed.weight'):
        convert_imagenet({**resnet, 'patch_embed.weight': torch.zeros(1)})


@pytest.mark.parametrize('name', ['vgg16_pascal', 'r50_coco'])
def test_stage_1_refuses_to_start_without_its_imagenet_weights(name, tmp_path, monkeypatch):
    monkeypatch.setenv('MMFSS_PRETRAINED', str(tmp_path / 'weights'))
    backbone = MODELS.build(Config.fromfile(REPO / f'configs/pspnet/{name}.py').model.backbone)
    with pytest.raises(FileNotFoundError, match='docs/pretrained.md'):
        backbone.init_weights()
    path = Path(backbone.init_cfg['checkpoint'])
    path.parent.mkdir(parents=True)
    torch.save(dict(state_dict={f'backbone.{k}': v for k, v in backbone.state_dict().items()}), path)
    with pytest.raises(ValueError, match='missing'):
        backbone.init_weights()
