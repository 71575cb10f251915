# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Names of the released CyCTR checkpoints (YanFangCS/CyCTR-Pytorch) in mmfss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from mmfss.models.layers import resize
from mmfss.models.layers.sine_position import sine_position
from mmfss.models.layers.token_draw import TokenIndex

from .imagenet import RESNET_INIT_KEYS
from .methods import ReleasedMethod, register
from .names import ConversionError, renamed_model, strip_parallel_prefix
from .reference_outputs import encode, scores_and_guidance
from .variant import Variant, detect_backbone, told_dataset

if TYPE_CHECKING:
    from .parity import Case

_BODY = 'backbone.body.'
_UNUSED = 'addtional_proj.'  # in every released checkpoint, and never called
_CHANNELS = 256


def _transformer_keys(layers: int = 2) -> Iterator[tuple[str, str]]:
    """Feed-forward networks and norms are numbered through: those behind the self-attention come first."""
    yield r'transformer\.level_embed', r'decode_head.transformer.level_embed'
    for layer in range(layers):
        ours = f'decode_head.transformer.layers.{layer}'
        for theirs, name in (
            ('sampling_offsets', 'offsets'),
            ('attention_weights', 'weights'),
            ('value_proj', 'value'),
            ('output_proj', 'output'),
        ):
            yield rf'transformer\.qry_self_layers\.{layer}\.{theirs}\.(\w+)', rf'{ours}.self_attention.{name}.\1'
        for theirs, name in (('q_fc', 'query'), ('k_fc', 'key'), ('v_fc', 'value'), ('proj', 'output')):
            yield rf'transformer\.cross_layers\.{layer}\.{theirs}\.(\w+)', rf'{ours}.cross_attention.{name}.\1'
        for place in range(2):
            network = rf'transformer\.ffns\.{2 * layer + place}\.layers'
            yield rf'{network}\.0\.0\.(\w+)', rf'{ours}.feed_forward.{place}.0.\1'
            yield rf'{network}\.1\.(\w+)', rf'{ours}.feed_forward.{place}.3.\1'
        for place in range(4):
            yield rf'transformer\.layer_norms\.{4 * layer + place}\.(\w+)', rf'{ours}.norms.{place}.\1'


# Released pattern -> name here, tried in this order on the whole key.
CYCTR_KEYS: tuple[tuple[str, str], ...] = (
    *((rf'backbone\.body\.{pattern}', rf'backbone.{name}') for pattern, name in RESNET_INIT_KEYS),
    (r'adjust_feature_qry\.0\.(\w+)', r'decode_head.reduce_query.0.\1'),
    (r'adjust_feature_supp\.0\.(\w+)', r'decode_head.reduce_support.0.\1'),
    (r'qry_merge_feat\.0\.(\w+)', r'decode_head.merge_query.0.\1'),
    (r'supp_merge_feat\.0\.(\w+)', r'decode_head.merge_support.0.\1'),
    *_transformer_keys(),
    (r'merge_multi_lvl_reduce\.0\.(\w+)', r'decode_head.fuse.0.\1'),
    (r'merge_multi_lvl_sum\.(\d)\.(\w+)', r'decode_head.refine.\1.\2'),
    (r'cls\.(\d)\.(\w+)', r'decode_head.classify.\1.\2'),
    (r'pred_supp_qry_proj\.0\.(\w+)', r'decode_head.support_branch.project.0.\1'),
    (r'supp_init_merge\.0\.(\w+)', r'decode_head.support_branch.merge.0.\1'),
    (r'supp_beta_conv\.(\d)\.(\w+)', r'decode_head.support_branch.refine.\1.\2'),
    (r'supp_cls\.(\d)\.(\w+)', r'decode_head.support_branch.classify.\1.\2'),
)


def convert_cyctr(state: Mapping[str, Tensor], dataset: str | None = None) -> tuple[Variant, dict[str, Tensor]]:
    """A released CyCTR checkpoint as the weights of a FewShotSegmentor.

    The weights do not say how many shots they were trained with.

    Args:
        state (Mapping[str, Tensor]): The released state dict.
        dataset (str, optional): 'pascal' or 'coco': the weights do not say.

    Returns:
        tuple[Variant, dict[str, Tensor]]: What it is, and its weights under the names used here.

    Raises:
        ConversionError: When it is something else, no data set is given, or its transformer is older than 2022-02; the
            message names the keys.
    """
    state = {k: v for k, v in strip_parallel_prefix(state).items() if not k.startswith(_UNUSED)}
    channels = state['adjust_feature_qry.0.weight'].shape[0]
    if channels != _CHANNELS:
        raise ConversionError(
            f'adjust_feature_qry.0.weight has {channels} channels, the released CyCTR {_CHANNELS}: weights from before '
            '2022-02 have 384, one head and a pooled prior mask, and fit the code of that time only'
        )
    renamed = renamed_model(state, CYCTR_KEYS, 'CyCTR')
    body = {key.removeprefix(_BODY): value for key, value in state.items() if key.startswith(_BODY)}
    return Variant(method='cyctr', backbone=detect_backbone(body), dataset=told_dataset(dataset)), renamed


class RecordedDraw:
    """Draws of a reference case in the place of a head's :class:`mmfss.models.layers.token_draw.TokenDraw`.

    Args:
        arrays (Mapping[str, Tensor]): ``vector_index`` and ``label_index`` (B, N), and ``train_vector_index`` and
            ``train_label_index`` (B, layers, N) where losses are compared.
        prefix (str): In front of the first two names.
        aligned (bool): Flags from the vectors' own places. Defaults to False.
    """

    def __init__(self, arrays: Mapping[str, Tensor], prefix: str = '', aligned: bool = False):
        self.arrays, self.prefix, self.aligned = arrays, prefix, aligned

    def evaluation(self, foreground: Tensor, shots: int, seed: Tensor, layers: int) -> list[TokenIndex]:
        """The one draw, for each layer."""
        return [self._index(self.prefix)] * layers

    def training(self, foreground: Tensor, shots: int, layers: int) -> list[TokenIndex]:
        """A draw for each layer."""
        both = self._index('train_')  # (B, layers, N)
        return [TokenIndex(both.vector[:, layer], both.label[:, layer]) for layer in range(layers)]

    def _index(self, prefix: str) -> TokenIndex:
        vector = self.arrays[f'{prefix}vector_index'].long()
        return TokenIndex(vector, vector if self.aligned else self.arrays[f'{prefix}label_index'].long())


def cyctr_draws(model: nn.Module, case: Case) -> None:
    """Let the model take the tokens that the case's authors' code took."""
    model.decode_head.draw = RecordedDraw(case.arrays)


@contextmanager
def _drawing(head: nn.Module, draw: RecordedDraw) -> Iterator[None]:
    own, head.draw = head.draw, draw
    try:
        yield
    finally:
        head.draw = own


def cyctr_outputs(model: nn.Module, case: Case) -> dict[str, Tensor]:
    """Everything that CyCTR's reference cases hold, see :func:`scores_and_guidance`."""
    head, seen = model.decode_head, {}
    hooks = [
        part.register_forward_hook(lambda _, inputs, output, name=name: seen.update({name: (inputs, output)}))
        for name, part in head.transformer.named_modules()
        if name.endswith('_attention') or not name
    ]
    found = scores_and_guidance(model, case)
    for hook in hooks:
        hook.remove()
    for i, layer in enumerate(head.transformer.layers):
        found[f'self{i}'] = seen[f'layers.{i}.self_attention'][1]
        inputs, found[f'cross{i}'] = seen[f'layers.{i}.cross_attention']
        found[f'consistent{i}'] = _packed(layer.cross_attention.consistent(*inputs[:3]))  # all but the padding
    (query, padded, *_), transformed = seen['']
    features, bank = encode(model, case)
    supports = case.inputs['support'].flatten(0, 1), case.inputs['support_mask'].flatten(0, 1).unsqueeze(1)
    found |= dict(
        support_feat=head.reduced_support(model.support_features(*supports)),
        query_merged=query,
        support_merged=bank['merged'].flatten(0, 1),
        position=sine_position(~padded, query.shape[1]),
        transformer=transformed,
    )
    others = dict(logits_aligned=RecordedDraw(case.arrays, aligned=True))
    if 'sparse_vector_index' in case.arrays:
        others['logits_sparse'] = RecordedDraw(case.arrays, 'sparse_')
    for name, draw in others.items():
        with _drawing(head, draw):
            found[name] = resize(head(features.heads['meta'], bank).logits, case.inputs['query'].shape[-2:])
    return found


def _packed(flags: Tensor) -> Tensor:
    """Eight flags a byte, along the last dimension."""
    return torch.as_tensor(np.packbits(flags.numpy(), axis=-1))


_INDICES = tuple(f'{prefix}{kind}_index' for prefix in ('', 'sparse_', 'train_') for kind in ('vector', 'label'))

register(
    ReleasedMethod(
        name='cyctr',
        title='CyCTR (YanFangCS/CyCTR-Pytorch)',
        recognises=lambda state: 'adjust_feature_qry.0.weight' in state and 'transformer.level_embed' in state,
        convert=convert_cyctr,
        rules=CYCTR_KEYS,
        outputs=cyctr_outputs,
        prepare=cyctr_draws,
        settings=_INDICES,
        losses=dict(loss_main='loss_final', loss_aux='loss_auxiliary'),
        # Min-max scaling magnifies the rounding of the prior mask.
        tolerances={'output': 1e-4, 'output/prior': 1e-3, 'loss': 1e-5, 'gradient': 1e-3},
    )
)
