# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Names of the released ASGNet checkpoints (Reagan1311/ASGNet) in mmfss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmfss.models.layers import concat_stages, foreground, resize

from .methods import ReleasedMethod, register
from .names import renamed_model, strip_parallel_prefix
from .pfenet import ENRICHMENT_KEYS
from .reference_outputs import encode, training_step
from .variant import BACKBONES, RELEASED_DATASETS, Variant, detect_backbone, told_dataset

if TYPE_CHECKING:
    from .parity import Case

# Released pattern -> name here, tried in this order on the whole key.
ASGNET_KEYS: tuple[tuple[str, str], ...] = (
    (r'down_conv\.0\.(\w+)', r'decode_head.reduce.0.\1'),
    (r'corr_conv\.(\d)\.0\.(\w+)', r'decode_head.enrich.merge.\1.0.\2'),
    *ENRICHMENT_KEYS,
    # The variant with an ASPP; skipN.{1,3} are the convs behind a ReLU each.
    (r'corr_conv\.0\.(\w+)', r'decode_head.merge.0.\1'),
    *((rf'skip{i + 1}\.{2 * j + 1}\.(\w+)', rf'decode_head.skips.{i}.{2 * j}.\1') for i in range(3) for j in range(2)),
    (r'ASPP\.layer6_(\d)\.0\.(\w+)', r'decode_head.aspp.branches.\1.0.\2'),
    (r'ASPP\.layer7\.0\.(\w+)', r'decode_head.join.0.\1'),
    (r'decoder\.conv1\.(\w+)', r'decode_head.reduce_low.0.\1'),
    (r'decoder\.bn1\.(\w+)', r'decode_head.reduce_low.1.\1'),
    (r'decoder\.last_conv\.(\d)\.(\w+)', r'decode_head.decoder.\1.\2'),
    (r'cls_aux\.(\d)\.(\w+)', r'decode_head.classify_inner.\1.\2'),
)


@dataclass(frozen=True)
class ASGNetVariant(Variant):
    """A released ASGNet.

    Attributes:
        aspp (bool): Whether it has the ASPP in place of the pyramid.
    """

    aspp: bool = False

    def __str__(self) -> str:
        name, _, outputs = RELEASED_DATASETS[self.dataset]
        context = 'ASPP' if self.aspp else 'pyramid'
        return (
            f'{BACKBONES[self.backbone]}, {name} ({outputs - 1} base classes), {context}; K is not in the weights: '
            f'those of 5 shots belong to {self.config.replace("_1shot", "_5shot")}'
        )


def convert_asgnet(state: Mapping[str, Tensor], dataset: str | None = None) -> tuple[Variant, dict[str, Tensor]]:
    """A released ASGNet checkpoint as the weights of a FewShotSegmentor. It does not say its K.

    Args:
        state (Mapping[str, Tensor]): The released state dict. Its BatchNorm statistics moved in training and are not
            those of ImageNet.
        dataset (str, optional): 'pascal' or 'coco': the weights do not say.

    Returns:
        tuple[Variant, dict[str, Tensor]]: What it is, and its weights under the names used here.

    Raises:
        ConversionError: When it is something else, or no data set is given; the message names the keys.
    """
    state = strip_parallel_prefix(state)
    renamed = renamed_model(state, ASGNET_KEYS, 'ASGNet')
    variant = ASGNetVariant(
        method='asgnet',
        backbone=detect_backbone(state),
        dataset=told_dataset(dataset),
        aspp='ASPP.layer7.0.weight' in state,
    )
    return variant, renamed


def asgnet_options(variant: Variant) -> dict[str, Any]:
    """The head with an ASPP, which no config names."""
    return {'model.decode_head.type': 'ASGNetASPPHead'} if variant.aspp else {}


def asgnet_outputs(model: nn.Module, case: Case) -> dict[str, Tensor]:
    """What the released code gives, in its layout: prototypes of all shots one behind the other.

    Args:
        model (nn.Module): In eval mode.
        case (Case): Its episodes.

    Returns:
        dict[str, Tensor]: ``seeds`` (B, K, S, 2); ``query_feat`` (B, C, h, w), ``support_feat`` (B, K, C, h, w);
        ``prototypes`` (B, P, C), filled up with zeros, ``prototype_count`` (B,); ``probability`` (B, 1, h, w),
        ``guide_index`` (B, h, w) among the prototypes; ``final_feat`` (B, C, h, w) before the classifier where there is
        a pyramid, ``logits`` (B, 2, H, W).
    """
    head, (query, bank), inputs = model.decode_head, encode(model, case), case.inputs
    labels = inputs['support_mask'].flatten(0, 1).unsqueeze(1)
    shots = concat_stages(model.support_features(inputs['support'].flatten(0, 1), labels))
    reduced = head.reduce(shots)  # (B * K, C, h, w)
    seeds, _ = head.seeds(foreground(labels), reduced.shape[-2:])
    features, valid = query.heads['meta'], bank['valid'].flatten(1)  # (B, K * S)
    parts, output = head.guidance(features, bank), head(query.heads['meta'], bank)
    vectors = bank['vectors'].transpose(2, 3).flatten(1, 2)  # (B, K * S, C)
    place = valid.long().cumsum(1) - 1  # among the prototypes that are there
    found = dict(
        seeds=seeds.unflatten(0, inputs['support'].shape[:2]),
        query_feat=parts['query'],
        support_feat=reduced.unflatten(0, inputs['support'].shape[:2]),
        prototypes=pad_sequence([v[kept] for v, kept in zip(vectors, valid, strict=True)], batch_first=True),
        prototype_count=valid.sum(1),
        probability=parts['probability'],
        guide_index=place.gather(1, parts['index'].flatten(1)).view_as(parts['index']),
        logits=resize(output.logits, inputs['query'].shape[-2:]),
    )
    if (enriched := output.auxiliary.get('enriched')) is not None:
        found['final_feat'] = enriched + head.refine(enriched)
    return found


register(
    ReleasedMethod(
        name='asgnet',
        title='ASGNet (Reagan1311/ASGNet)',
        recognises=lambda state: 'down_conv.0.weight' in state and any(k.startswith('corr_conv.') for k in state),
        convert=convert_asgnet,
        cfg_options=asgnet_options,
        rules=ASGNET_KEYS,
        outputs=asgnet_outputs,
        losses=dict(loss_main='loss_final', loss_aux='loss_auxiliary'),
        training_outputs=training_step,
        tolerances=dict(output=1e-4, loss=1e-5, gradient=1e-3),
    )
)
