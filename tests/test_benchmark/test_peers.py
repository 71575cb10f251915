# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The peers of the benchmark: the plain implementation equals our model, a released checkout is made from outside."""

import sys
from pathlib import Path

import pytest
import torch
import toys
from mmengine.config import Config
from mmengine.registry import DefaultScope
from plain_msanet import PlainMSANet

from mmfss.benchmark import Setup
from mmfss.benchmark.checkouts import check_checkout
from mmfss.benchmark.models import build_model
from mmfss.benchmark.released_hsnet import ReleasedHSNet
from mmfss.benchmark.released_msanet import ReleasedMSANet
from mmfss.benchmark.released_vat import ReleasedVAT
from mmfss.conversion.parity import undropped
from mmfss.registry import MODELS

DEEP = dict(toys.RESNET, depth=50, deep_stem=True, base_channels=4)
VGG_HEAD = dict(toys.BASE_HEAD, type='NarrowPSPHead', in_channels=16, pyramid_channels=4)
CASES = dict(
    basic_blocks=(toys.RESNET, toys.BASE_HEAD, 1),
    bottlenecks_three_shots=(DEEP, dict(toys.BASE_HEAD, in_channels=128), 3),
    vgg_two_shots=(toys.VGG, VGG_HEAD, 2),
)
# A model file laid out as the released one, of one conv.
RELEASED = """
import torch
import cv2
from torch import nn
from util.util import get_train_val_set
class OneModel(nn.Module):
    def __init__(self, args, cls_type=None):
        super().__init__()
        print('INFO: noise')
        torch.load('initmodel/PSPNet/{}/split{}/best.pth'.format(args.data_set, args.split))['state_dict']
        self.load_state_dict({})
        self.args, self.cls_type = args, cls_type
        self.gram_merge = nn.Conv2d(2, 1, 1, bias=False)
    def freeze_modules(self, model):
        model.gram_merge.requires_grad_(False)
    def extract_feats(self, x):
        return x
    def forward(self, x, s_x, s_y, y_m, y_b, cat_idx=None):
        torch.arange(3, device='cuda')
        final = self.gram_merge(x[:, :2]).expand(-1, 2, -1, -1).cuda()
        return (final, final, final)
"""


def build(case: str):
    backbone, base_head, shots = CASES[case]
    weighting = dict(shot_weighting=dict(shots=shots)) if shots > 1 else {}
    config = dict(type='BaseLearnerEnsemble', backbone=backbone, decode_head=dict(toys.MSANET, **weighting))
    return toys.build(dict(config, base_head=base_head, log_base_loss=True)), shots


@pytest.mark.parametrize('case', CASES)
def test_the_plain_implementation_gives_our_outputs(case):
    model, shots = build(case)
    plain = PlainMSANet(model.state_dict(), dilations=(1, 2, 3), bins=(1, 2))
    inputs = toys.episodes(2, shots, (57, 57))
    inputs['support_mask'][0, 0] = 0  # an empty mask
    with torch.no_grad():
        ours = model(inputs, mode='tensor')
        theirs = plain(inputs['query'], inputs['support'], inputs['support_mask'])
    for name, score in ours.items():
        assert (score - theirs[name]).abs().max() < 1e-4 * score.std(), name


def test_the_plain_implementation_gives_our_losses_and_gradients():
    model, shots = build('basic_blocks')
    undropped(model.train())
    inputs, samples = toys.episodes(3, shots, (41, 41)), toys.samples(3, (41, 41))
    losses = model(inputs, samples, mode='loss')
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    state['decode_head.merge.0.weight'].requires_grad_()
    plain = PlainMSANet(state, dilations=(1, 2, 3), bins=(1, 2))
    own_class = torch.tensor([sample.metainfo['base_index'] for sample in samples])
    scores = plain(inputs['query'], inputs['support'], inputs['support_mask'], own_class)
    labels, base = (torch.cat([s.get(name).data for s in samples]).long() for name in ('gt_sem_seg', 'gt_base_seg'))
    total = plain.loss(scores, labels, base)
    assert float(total.detach()) == pytest.approx(float(sum(losses.values()).detach()), rel=1e-4)
    sum(losses.values()).backward()
    total.backward()
    ours, theirs = model.decode_head.merge[0].weight.grad, state['decode_head.merge.0.weight'].grad
    assert (ours - theirs).norm() < 1e-3 * ours.norm()


@pytest.fixture
def checkout(tmp_path) -> Path:
    (tmp_path / 'model').mkdir()
    (tmp_path / 'model' / 'MSANet.py').write_text(RELEASED)
    return tmp_path


def test_a_released_checkout_is_made_without_gpu_data_code_and_weight_files(checkout, capsys):
    setup = Setup('configs/msanet/vgg16_pascal_1shot.py', size=41)
    model = build_model(setup)
    before = {name for name in sys.modules if name.split('.')[0] in ('model', 'util')}
    patched, path = (torch.load, torch.arange, torch.Tensor.cuda), list(sys.path)
    released = ReleasedMSANet(checkout, model, setup)
    assert sys.path == path and not capsys.readouterr().out
    assert {name for name in sys.modules if name.split('.')[0] in ('model', 'util')} == before
    assert released.model.args.vgg and released.model.args.shot == 1 and released.model.args.data_set == 'pascal'
    assert released.model.gram_merge.weight.equal(model.merge_adjustment.weight)
    scores = released.scores(setup.episode(0))
    assert scores['final'].shape == (1, 2, 41, 41)
    assert (torch.load, torch.arange, torch.Tensor.cuda) == patched


def test_models_that_the_released_code_does_not_have_are_refused(checkout):
    setup = Setup('tests/configs/tiny_1shot.py', size=41)
    with pytest.raises(ValueError, match='tiny_1shot.py .*VGG16, ResNet-50 or ResNet-101'):
        ReleasedMSANet(checkout, build_model(setup), setup)


def test_a_folder_that_is_no_checkout_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='model/MSANet.py'):
        check_checkout(tmp_path)


# Laid out as the released file, with a learner of one conv.
RELEASED_HSNET = """
import torch
from torch import nn
from torchvision.models import resnet
class Correlation:
    pass
class Learner(nn.Module):
    def __init__(self):
        super().__init__()
        self.decoder2 = nn.Sequential(nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Conv2d(64, 2, 3))
class HypercorrSqueezeNetwork(nn.Module):
    def __init__(self, backbone, use_original_imgsize):
        super().__init__()
        self.backbone, self.hpn_learner = getattr(resnet, backbone)(pretrained=True), Learner()
    def forward(self, query_img, support_img, support_mask):
        return torch.stack([support_mask * query_img[:, 0], 0.5 - support_mask], 1)
    def compute_objective(self, logits, labels):
        return nn.functional.cross_entropy(logits, labels.long())
    def train_mode(self):
        self.train().backbone.eval()
"""


def test_a_checkout_of_hsnet_gets_our_weights(tmp_path):
    (tmp_path / 'model').mkdir()
    (tmp_path / 'model' / 'hsnet.py').write_text(RELEASED_HSNET)
    setup = Setup('configs/hsnet/r50_pascal_1shot.py', size=41, shots=2)
    model = build_model(setup)
    path = list(sys.path)
    released = ReleasedHSNet(tmp_path, model, setup)
    assert sys.path == path and 'model.hsnet' not in sys.modules
    assert released.model.backbone.conv1.weight.equal(model.backbone.conv1.weight)
    assert released.model.hpn_learner.decoder2[2].bias.equal(model.decode_head.classify[2].bias)
    inputs = setup.episode(0)
    assert released.scores(inputs)['final'].shape == (1, 2, 41, 41) and released.losses(inputs).isfinite()
    released.train(True)
    assert released.model.hpn_learner.training and not released.model.backbone.training
    with pytest.raises(FileNotFoundError, match='no checkout of AIVResearch/MSANet: there is no file model/MSANet.py'):
        check_checkout(tmp_path, 'AIVResearch/MSANet')
    other = Setup('tests/configs/tiny_1shot.py', size=41)
    with pytest.raises(ValueError, match='tiny_1shot.py .*VGG16, ResNet-50 or ResNet-101'):
        ReleasedHSNet(tmp_path, build_model(other), other)


# The same for VAT: a ReLU's output to which its own forward adds in place.
RELEASED_VAT = """
import torch
from torch import nn
from torchvision.models import resnet
class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.Conv2d(1, 1, 1)
    def forward(self, x):
        return self.norm(x).relu(), None
class Ours(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoders = nn.ModuleList([Encoder() for _ in range(3)])
        self.decoder = nn.Sequential(nn.Conv2d(64, 32, 3), nn.ReLU(), nn.Conv2d(32, 2, 3))
class Learner(nn.Module):
    def __init__(self):
        super().__init__()
        self.ours = Ours()
class VAT(nn.Module):
    def __init__(self, cfg, use_original_imgsize):
        super().__init__()
        self.cfg, self.hpn_learner = cfg, Learner()
        self.backbone = getattr(resnet, cfg.TRAIN.BACKBONE)(pretrained=True)
    def forward(self, query_img, support_img, support_mask):
        found = self.hpn_learner.ours.encoders[1](query_img[:, :1] + 9)[0]
        found += 1
        return torch.cat([found, -found], 1)
    def compute_objective(self, logits, labels):
        return nn.functional.cross_entropy(logits, labels.long())
    def train_mode(self):
        self.train().backbone.eval()
"""


def test_a_checkout_of_vat_gets_our_weights(tmp_path):
    (tmp_path / 'model').mkdir()
    file = tmp_path / 'model' / 'vat.py'
    file.write_text(RELEASED_VAT)
    setup = Setup('configs/vat/r50_coco_1shot.py', size=41)
    with DefaultScope.overwrite_default_scope('mmfss'):  # without a forward pass: volumes have their full sizes
        model = MODELS.build(Config.fromfile(setup.config).model)
    released = ReleasedVAT(tmp_path, model, setup)
    assert released.model.cfg.TRAIN.BENCHMARK == 'coco' and released.model.cfg.TRAIN.BACKBONE == 'resnet50'
    assert released.model.backbone.conv1.weight.equal(model.backbone.conv1.weight)
    assert released.model.hpn_learner.ours.decoder[2].bias.equal(model.decode_head.decode.classify[2].bias)
    released.losses(setup.episode(0)).backward()  # which torch refuses without the copy
    assert released.model.hpn_learner.ours.encoders[1].norm.weight.grad is not None
    file.write_text('import nosuchpackage')
    with pytest.raises(ValueError, match='needs nosuchpackage: pip install nosuchpackage'):
        ReleasedVAT(tmp_path, model, setup)
    other = Setup('tests/configs/tiny_1shot.py', size=41)
    with pytest.raises(ValueError, match='tiny_1shot.py .*ResNet-50 or ResNet-101'):
        ReleasedVAT(tmp_path, build_model(other), other)
