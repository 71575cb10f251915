# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The golden cases: outputs of the released MSANet code on weights that anyone can rebuild.

The weights are not stored. Each tensor of the released state dict is drawn from a generator seeded
with its own name, so names and shapes (``*.shapes.json``) are enough to rebuild a checkpoint.
"""

import json
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parent / 'data' / 'golden'
CASES = ('r50_pascal_1shot', 'r50_pascal_5shot', 'vgg16_pascal_1shot')
# Our names of the guidance whose released names differ, and everything that is compared.
GUIDANCE = dict(query='query_feat', adjustment='adjust_factor')
OUTPUTS = (
    'query_feat',
    'prototype',
    'similarity',
    'prior',
    'attention',
    'adjust_factor',
    'final_logits',
    'meta_logits',
    'base_logits',
)
# Agreement that the reference asks for, by kind: relative to the standard deviation, to the loss, to the norm.
TOLERANCES = dict(output=1e-4, loss=1e-4, gradient=1e-3)


def draw_tensor(name: str, shape: list[int]) -> Tensor:
    """The reference value of one entry of the released state dict."""
    rng = np.random.default_rng(crc32(name.encode()))
    kind = name.split('.')[-1]
    if kind == 'num_batches_tracked':
        return torch.zeros(shape, dtype=torch.int64)
    if kind in ('bias', 'running_mean'):
        values = 0.1 * rng.standard_normal(shape)
    elif kind == 'running_var':
        values = rng.uniform(0.5, 1.5, shape)
    elif name.endswith('bn3.weight'):  # small, so that residual sums do not grow
        values = rng.uniform(0.1, 0.3, shape)
    elif len(shape) == 1:
        values = rng.uniform(0.5, 1.5, shape)
    elif np.prod(shape[1:]) <= 8:  # the tiny convs that merge and weight
        values = rng.uniform(0.2, 0.8, shape)
    else:  # He initialisation
        values = rng.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def released_weights(case: str, folder: Path = FOLDER) -> dict[str, Tensor]:
    """State dict of a golden case under the released names."""
    shapes = json.loads((folder / f'{case}.shapes.json').read_text())
    return {name: draw_tensor(name, shape) for name, shape in shapes.items()}


def arrays(case: str, folder: Path = FOLDER) -> dict[str, Tensor]:
    """Inputs and reference outputs of a golden case."""
    with np.load(folder / f'{case}.npz') as stored:
        return {name: torch.as_tensor(stored[name]) for name in stored.files}


def gradient_norms(case: str, folder: Path = FOLDER) -> dict[str, Tensor]:
    """Released name of each learned parameter -> norm of its gradient."""
    norms = json.loads((folder / f'{case}.grads.json').read_text())
    return {name: torch.tensor(norm) for name, norm in norms.items()}


def undropped(model: nn.Module) -> nn.Module:
    """The model with every dropout at 0, as the reference losses were computed."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return model


def model_config(case: str) -> dict:
    """The mmfss model of a golden case."""
    head = dict(type='MSANetHead', shot_weighting=dict(shots=5) if '5shot' in case else None)
    base_head = dict(channels=512, num_classes=16, norm_cfg=dict(type='BN'), align_corners=True)
    if case.startswith('vgg16'):
        backbone = dict(type='BlockVGG')
        base_head.update(type='NarrowPSPHead', in_channels=512, pyramid_channels=128)
    else:
        backbone = dict(
            type='BlockResNet',
            depth=50,
            deep_stem=True,
            stem_channels=128,
            strides=(1, 2, 1, 1),
            dilations=(1, 1, 2, 4),
        )
        base_head.update(type='mmseg.PSPHead', in_channels=2048)
    return dict(
        type='BaseLearnerEnsemble', backbone=backbone, decode_head=head, base_head=base_head, log_base_loss=True
    )


def build(case: str, folder: Path = FOLDER) -> nn.Module:
    """The model with the reference weights, loaded strictly."""
    from mmengine.registry import DefaultScope

    from mmfss.conversion.msanet import rename_msanet_keys
    from mmfss.registry import MODELS

    with DefaultScope.overwrite_default_scope('mmfss'):
        model = MODELS.build(model_config(case))
    weights, unknown = rename_msanet_keys(released_weights(case, folder))
    assert not unknown, f'keys without a name in mmfss: {unknown}'
    model.load_state_dict(weights)
    return model


def query_samples(reference: dict[str, Tensor]) -> list:
    """The annotations of a case as the model's loss takes them."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    samples = []
    for i, base_index in enumerate(reference['class_index'].tolist()):
        sample = SegDataSample(metainfo=dict(base_index=base_index))
        sample.gt_sem_seg = PixelData(data=reference['query_mask'][i : i + 1])
        sample.gt_base_seg = PixelData(data=reference['query_base_mask'][i : i + 1])
        samples.append(sample)
    return samples


def compare(case: str, folder: Path = FOLDER) -> dict[str, float]:
    """Deviations of mmfss from a golden case.

    Returns:
        dict[str, float]: for each output the largest absolute deviation over the standard deviation of the reference
        (over its size for the single number of the adjustment factor with one episode), named ``output/...``; the
        relative deviation of each loss, ``loss/...``; that of each gradient norm, ``gradient/...``.
    """
    reference, model = arrays(case, folder), build(case, folder)
    inputs = dict(
        query=reference['query_img'], support=reference['support_img'], support_mask=reference['support_mask']
    )
    model.eval()
    with torch.no_grad():
        bank = model.encode_support(inputs['support'], inputs['support_mask'])
        found = model.decode_head.guidance(model.extract_feat(inputs['query']), bank.part('meta'))
        found = {GUIDANCE.get(name, name): part for name, part in found.items()}
        found.update({f'{name}_logits': scores for name, scores in model(inputs, mode='tensor').items()})
    deviations = {}
    for name in OUTPUTS:
        expected = reference[name]
        assert found[name].shape == expected.shape, (name, found[name].shape, expected.shape)
        scale = expected.std(correction=0) if expected.numel() > 1 else expected.abs()
        deviations[f'output/{name}'] = float((found[name] - expected).abs().max() / scale)
    losses = undropped(model.train()).loss(inputs, query_samples(reference))
    (losses['loss_final'] + losses['loss_meta']).backward()
    losses['loss_base'] = losses.pop('base_ce')  # reported only: the base learner is frozen
    for name, loss in losses.items():
        deviations[f'loss/{name}'] = abs(float(loss.detach() / reference[name]) - 1)
    return deviations | _compare_gradients(model, gradient_norms(case, folder))


def _compare_gradients(model: nn.Module, released: dict[str, Tensor]) -> dict[str, float]:
    from mmfss.conversion.msanet import rename_msanet_keys

    expected, _ = rename_msanet_keys(released)
    learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert learned.keys() == expected.keys(), learned.keys() ^ expected.keys()
    return {f'gradient/{name}': abs(float(p.grad.norm() / expected[name]) - 1) for name, p in learned.items()}
