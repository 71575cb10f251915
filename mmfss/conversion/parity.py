# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Does mmfss compute what a method's authors' code computes? Compares it with recorded reference outputs.

A case is three files: ``CASE.npz`` (inputs and reference outputs of the authors' code), ``CASE.shapes.json`` (keys and
shapes of the released state dict, whose weights are rebuilt from their names) and, where gradients are compared,
``CASE.grads.json`` (norm of the gradient of each learned parameter, by released name).
"""

import importlib.util
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmfss.registry import MODELS
from mmfss.utils.configs import resolve_config
from mmfss.utils.wording import listed

from .files import load_strictly
from .methods import METHODS, ReleasedMethod
from .names import ConversionError, backbone_rules, rename, strip_parallel_prefix
from .reference_outputs import undropped
from .variant import BACKBONES, RELEASED_DATASETS

PLAIN_NAMES = 'msanet'  # the method of cases whose names begin with a backbone
_NAME = re.compile(
    rf'(?:(?P<method>[a-z0-9]+)_)?(?P<backbone>{"|".join(BACKBONES)})_(?P<dataset>{"|".join(RELEASED_DATASETS)})'
    r'_(?P<shots>\d+)shot(?:_.+)?'
)
_SIDES = ('query_img', 'support_img', 'support_mask', 'query_mask', 'query_base_mask', 'class_index', 'query_padding')


@dataclass(frozen=True)
class Case:
    """Reference outputs of one released model.

    Attributes:
        name (str): ``[METHOD_]BACKBONE_DATA_Kshot[_anything]``; without a method it is MSANet.
        folder (Path): Where its files are.
        method (str): Key of METHODS, as the name says.
        dataset (str): 'pascal', 'coco' or 'fss'.
    """

    name: str
    folder: Path
    method: str
    dataset: str

    @cached_property
    def arrays(self) -> dict[str, Tensor]:
        """Inputs and reference outputs; half precision is only how they are stored."""
        stored = np.load(self.folder / f'{self.name}.npz')
        tensors = {name: torch.as_tensor(stored[name]) for name in stored.files}
        return {name: t.float() if t.dtype == torch.float16 else t for name, t in tensors.items()}

    @property
    def several_classes(self) -> bool:
        """Whether a query has several classes: supports (B, W, K, 3, H, W), labels 0, 1 + w, 255."""
        return self.arrays['support_img'].dim() == 6

    @property
    def inputs(self) -> dict[str, Tensor]:
        """The episodes as a model takes them."""
        found = dict(
            query=self.arrays['query_img'],
            support=self.arrays['support_img'],
            support_mask=self.arrays['support_mask'].long(),
        )
        if 'query_padding' in self.arrays:
            found['query_padding'] = self.arrays['query_padding'] != 0
        return found

    @property
    def samples(self) -> list[SegDataSample]:
        """The queries' annotations as a loss takes them."""
        samples = []
        for i in range(len(self.arrays['query_img'])):
            sample = SegDataSample(metainfo=dict(base_index=int(self.arrays.get('class_index', [-1] * (i + 1))[i])))
            for field, name in (('gt_sem_seg', 'query_mask'), ('gt_base_seg', 'query_base_mask')):
                if name in self.arrays:
                    sample.set_field(PixelData(data=self.arrays[name][i : i + 1].long()), field, dtype=PixelData)
            samples.append(sample)
        return samples

    @property
    def released_shapes(self) -> dict[str, list[int]]:
        """Keys of the released state dict and their shapes."""
        return json.loads((self.folder / f'{self.name}.shapes.json').read_text())

    def released_weights(self) -> dict[str, Tensor]:
        """State dict under the released names, by the rule that lies beside the cases.

        That is ``reference_state_dict(shapes_file)`` of ``reference_weights_METHOD.py`` or ``reference_weights.py``.

        Raises:
            FileNotFoundError: When there is no such rule.
        """
        files = [self.folder / f'reference_weights_{self.method}.py', self.folder / 'reference_weights.py']
        script = next((file for file in files if file.is_file()), None)
        if script is None:
            raise FileNotFoundError(f'{self.folder} has no {files[1].name} to rebuild the weights of {self.name} with')
        arrays = _load_script(script).reference_state_dict(str(self.folder / f'{self.name}.shapes.json'))
        return {key: torch.as_tensor(value) for key, value in arrays.items()}

    def gradient_norms(self) -> dict[str, Tensor]:
        """Released name -> norm of the gradient; empty where the case has none."""
        path = self.folder / f'{self.name}.grads.json'
        return {key: torch.tensor(norm) for key, norm in json.loads(path.read_text()).items()} if path.is_file() else {}


def find_cases(folder: Path, methods: Sequence[str] | None = None) -> tuple[list[Case], list[str]]:
    """Cases of a folder.

    Args:
        folder (Path): With CASE.npz and CASE.shapes.json files.
        methods (Sequence[str], optional): Only these. Defaults to all that mmfss has.

    Returns:
        tuple[list[Case], list[str]]: The cases, and names that are left out: of other methods, or not of this form.
    """
    cases, others = [], []
    for path in sorted(folder.glob('*.npz')):
        found = _NAME.fullmatch(path.stem)
        method = (found['method'] or PLAIN_NAMES) if found else None
        known = method in METHODS and path.with_name(f'{path.stem}.shapes.json').is_file()
        if known and (methods is None or method in methods):
            cases.append(Case(path.stem, folder, method, found['dataset']))
        elif not known:
            others.append(path.stem)
    return cases, others


def build(case: Case) -> nn.Module:
    """The model of a case's config with the rebuilt weights, converted and loaded strictly; in eval mode.

    Raises:
        ConversionError: When the weights are not of the method that the name says, or do not fit the config.
    """
    state = case.released_weights()
    method = METHODS[case.method]
    if not method.recognises(strip_parallel_prefix(state)):
        raise ConversionError(f'the weights of {case.name} are not of {method.title}')
    variant, weights = method.convert(state, case.dataset)
    cfg = Config.fromfile(resolve_config(variant.config))
    cfg.merge_from_dict(variant.cfg_options)
    model_cfg = {key: value for key, value in cfg.model.items() if key not in ('comparison_heads', 'base_checkpoint')}
    if case.several_classes:
        model_cfg['type'] = 'NWaySegmentor'
    with DefaultScope.overwrite_default_scope('mmfss'):
        model = MODELS.build(model_cfg)
    load_strictly(model, weights, variant.config)
    if hasattr(model, 'log_base_loss'):
        model.log_base_loss = True  # references hold it
    model.loss_decode = MODELS.build(dict(type='mmseg.CrossEntropyLoss', avg_non_ignore=True))
    if method.prepare is not None:
        method.prepare(model, case)
    return model.eval()


def compare(case: Case) -> dict[str, float]:
    """Deviations of mmfss from a case.

    Returns:
        dict[str, float]: Of each output the largest absolute deviation over the standard deviation of the reference, or
        over a hundredth of its largest value where that is more (over its size for a single number, the share of
        unequal ones for whole numbers), named ``output/...``; the relative deviation of each loss, ``loss/...``; that
        of each gradient norm, ``gradient/...``. What the case holds and the method does not give deviates by infinity.
    """
    threads = torch.get_num_threads()
    # Several threads add in another order; where a ReLU's input is near zero that moves single gradients by 2e-4.
    torch.set_num_threads(1)
    try:
        return _compare(case)
    finally:
        torch.set_num_threads(threads)


def _compare(case: Case) -> dict[str, float]:
    method, model = METHODS[case.method], build(case)
    losses = {name for name in case.arrays if name.startswith('loss')}
    given = losses | {*_SIDES, *method.settings}
    expected = {name: reference for name, reference in case.arrays.items() if name not in given}
    with torch.no_grad():
        found = method.outputs(model, case)
    if method.training_outputs is not None:
        found |= method.training_outputs(undropped(build(case)), case)
    deviations = {
        f'output/{name}': deviation(found[name], reference) if name in found else float('inf')
        for name, reference in expected.items()
    }
    if losses or case.gradient_norms():
        deviations |= _compare_training(case, method, model, found)
    return deviations


def _compare_training(case: Case, method: ReleasedMethod, model: nn.Module, found: Mapping[str, Tensor]) -> dict:
    """Losses and gradient norms, with BatchNorm in eval mode and dropout at 0."""
    losses, parameters = method.training(model, case)
    sum(value for name, value in losses.items() if name.startswith('loss')).backward()
    named = {released: losses[ours].detach() for released, ours in method.losses.items() if ours in losses} | found
    deviations = {
        f'loss/{name}': abs(float(named[name] / value) - 1) if name in named else float('inf')
        for name, value in case.arrays.items()
        if name.startswith('loss')
    }
    state = case.gradient_norms()
    norms, unknown = rename(state, (*method.rules, *backbone_rules(case.released_shapes)))
    if unknown:
        raise ConversionError(f'gradients of {case.name} without a name in mmfss: {listed(unknown, 6)}')
    learned = {name for name, p in parameters.items() if p.requires_grad}
    # What the released code holds without using it, so that its gradient is 0, may be frozen here.
    expected = {name for name, norm in norms.items() if norm > 0 or name in learned or name not in parameters}
    if norms and learned != expected:
        raise ConversionError(f'{case.name}: learned here or there only: {listed(sorted(learned ^ expected), 6)}')
    for name, norm in norms.items():
        gradient = parameters[name].grad
        own = torch.zeros(()) if gradient is None else gradient.norm()
        deviations[f'gradient/{name}'] = float((own - norm).abs() / norm.clamp(min=1e-12))
    return deviations


def deviation(found: Tensor, expected: Tensor) -> float:
    """How far an output is from its reference, of which only every n-th entry of a dimension may be stored.

    Where several steps fit the stored shape, the one that agrees best is taken.
    """
    found = found.detach()
    if found.shape != expected.shape and found.numel() == expected.numel():
        found = found.reshape(expected.shape)
    if found.dim() != expected.dim():
        return float('inf')
    candidates = [found]
    for dim, (own, stored) in enumerate(zip(found.shape, expected.shape, strict=True)):
        steps = [step for step in range(1, own + 1) if len(range(0, own, step)) == stored]
        slices = [(slice(None),) * dim + (slice(None, None, step),) for step in steps]
        candidates = [candidate[place] for candidate in candidates for place in slices]
    if not candidates:
        return float('inf')
    if not expected.is_floating_point():
        return min(float((candidate != expected).float().mean()) for candidate in candidates)
    scale = expected.std(correction=0) if expected.numel() > 1 else expected.abs()
    return min(float((candidate - expected).abs().max() / scale.clamp(min=1e-12)) for candidate in candidates)


def _load_script(path: Path):
    """A module from a file that may import its neighbours, which are not kept: another folder has others."""
    neighbours = {file.stem for file in path.parent.glob('reference_weights*.py')}
    kept = {name: sys.modules.pop(name) for name in neighbours & sys.modules.keys()}
    sys.path.insert(0, str(path.parent))
    try:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(path.parent))
        for name in neighbours:
            sys.modules.pop(name, None)
        sys.modules.update(kept)
