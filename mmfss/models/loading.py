# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Loading weights of an earlier stage, or saying why they do not fit."""

import os.path as osp
from collections.abc import Mapping

from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn


def describe_mismatch(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], limit: int = 5) -> list[str]:
    """What keeps weights from loading strictly, in words.

    Args:
        expected (Mapping[str, Tensor]): the model's state dict.
        found (Mapping[str, Tensor]): the checkpoint's.
        limit (int): keys named for each kind of difference. Defaults to 5.

    Returns:
        list[str]: one sentence for each kind of difference, empty when the weights fit.
    """

    def some(keys: list[str]) -> str:
        return ', '.join(keys[:limit]) + (f' and {len(keys) - limit} more' if len(keys) > limit else '')

    missing = [k for k in expected if k not in found]
    unexpected = [k for k in found if k not in expected]
    shapes = [
        f'{k} {tuple(found[k].shape)} instead of {tuple(v.shape)}'
        for k, v in expected.items()
        if k in found and found[k].shape != v.shape
    ]
    return [
        f'{what}: {some(keys)}'
        for what, keys in (('missing', missing), ('unexpected', unexpected), ('of another shape', shapes))
        if keys
    ]


def load_base_learner(model: nn.Module, path: str) -> None:
    """Load backbone (and base head, where the model has one) from a stage-1 checkpoint, strictly.

    Args:
        model (nn.Module): a FewShotSegmentor or BaseLearnerEnsemble.
        path (str): checkpoint of an mmseg EncoderDecoder: keys ``backbone.*`` and ``decode_head.*``.

    Raises:
        FileNotFoundError: when there is no such file.
        RuntimeError: when its keys or shapes do not fit, naming them.
    """
    if '://' not in path and not osp.isfile(path):
        raise FileNotFoundError(
            f"base learner checkpoint '{path}' does not exist. tools/train.py trains it when the "
            "config's base_learner.config names stage 1; or set model.base_checkpoint"
        )
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    state = checkpoint.get('state_dict', checkpoint)
    targets: dict[str, nn.Module] = {'backbone.': model.backbone}
    if hasattr(model, 'base_head'):
        targets['decode_head.'] = model.base_head
    for prefix, module in targets.items():
        part = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
        problems = describe_mismatch(module.state_dict(), part)
        if problems:
            kind = (
                'its backbone is not the one of this config'
                if prefix == 'backbone.'
                else 'its classes or its head are not those of this config'
            )
            raise RuntimeError(
                f"base learner checkpoint '{path}' does not fit: {kind}. Keys under '{prefix}' " + '; '.join(problems)
            )
        module.load_state_dict(part)
    print_log(f'base learner: loaded {", ".join(p + "*" for p in targets)} from {path}', logger='current')


def check_pretrained(backbone: nn.Module, path: str, prefix: str | None = None) -> None:
    """Refuse pre-trained weights that are missing or would leave a part of the backbone as it was.

    Args:
        backbone (nn.Module): to be initialised.
        path (str): ``init_cfg.checkpoint``, a file or an address.
        prefix (str, optional): of the backbone's keys in it.

    Raises:
        FileNotFoundError: when there is no such file.
        RuntimeError: when keys are missing or of another shape.
    """
    if '://' not in path and not osp.isfile(path):
        raise FileNotFoundError(
            f"pre-trained weights '{path}' do not exist; tools/model_converters/ makes such files, "
            'docs/pretrained.md says how'
        )
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    state = checkpoint.get('state_dict', checkpoint)
    if prefix:
        state = {k[len(prefix) + 1 :]: v for k, v in state.items() if k.startswith(prefix + '.')}
    expected = {k: v for k, v in backbone.state_dict().items() if not k.endswith('num_batches_tracked')}
    problems = describe_mismatch(expected, {k: v for k, v in state.items() if k in expected})
    if problems:
        raise RuntimeError(f"pre-trained weights '{path}' are not of {type(backbone).__name__}: " + '; '.join(problems))


def check_init_cfg(backbone: nn.Module) -> None:
    """Check the pre-trained weights that ``init_weights`` of a backbone is about to load.

    mmengine loads them with strict=False, where a wrong prefix is only a line in the log and the backbone stays random.

    Args:
        backbone (nn.Module): whose ``init_cfg`` may name a file (``type='Pretrained'``), alone or in a list.

    Raises:
        FileNotFoundError: when the file is missing.
        RuntimeError: when weights of the backbone are missing in it or of another shape.
    """
    init_cfg = getattr(backbone, 'init_cfg', None) or []
    for cfg in [init_cfg] if isinstance(init_cfg, dict) else init_cfg:
        if cfg.get('type') == 'Pretrained':
            check_pretrained(backbone, cfg['checkpoint'], cfg.get('prefix'))
