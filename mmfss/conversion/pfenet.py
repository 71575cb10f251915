# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Names of the released PFENet checkpoints (dvlab-research/PFENet) in mmfss."""

from collections.abc import Mapping

from torch import Tensor

from .methods import ReleasedMethod, register
from .names import renamed_model, strip_parallel_prefix
from .reference_outputs import training_step
from .variant import Variant, detect_backbone, told_dataset

# Released pattern -> name here, tried in this order on the whole key.
ENRICHMENT_KEYS: tuple[tuple[str, str], ...] = (
    (r'alpha_conv\.(\d)\.0\.(\w+)', r'decode_head.enrich.pass_on.\1.0.\2'),
    (r'beta_conv\.(\d)\.(\d)\.(\w+)', r'decode_head.enrich.refine.\1.\2.\3'),
    (r'inner_cls\.(\d)\.(\d)\.(\w+)', r'decode_head.enrich.classify.\1.\2.\3'),
    (r'res1\.0\.(\w+)', r'decode_head.enrich.join.0.\1'),
    (r'res2\.(\d)\.(\w+)', r'decode_head.refine.\1.\2'),
    (r'cls\.(\d)\.(\w+)', r'decode_head.classify.\1.\2'),
)
PFENET_KEYS: tuple[tuple[str, str], ...] = (
    (r'down_query\.0\.(\w+)', r'decode_head.reduce_query.0.\1'),
    (r'down_supp\.0\.(\w+)', r'decode_head.reduce_support.0.\1'),
    (r'init_merge\.(\d)\.0\.(\w+)', r'decode_head.enrich.merge.\1.0.\2'),
    *ENRICHMENT_KEYS,
)


def convert_pfenet(state: Mapping[str, Tensor], dataset: str | None = None) -> tuple[Variant, dict[str, Tensor]]:
    """A released PFENet checkpoint as the weights of a FewShotSegmentor. It serves every number of shots.

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
    renamed = renamed_model(state, PFENET_KEYS, 'PFENet')
    return Variant(method='pfenet', backbone=detect_backbone(state), dataset=told_dataset(dataset)), renamed


register(
    ReleasedMethod(
        name='pfenet',
        title='PFENet (dvlab-research/PFENet)',
        # ASGNet has the same context module and no reduction of the supports.
        recognises=lambda state: 'alpha_conv.0.0.weight' in state and 'down_supp.0.weight' in state,
        convert=convert_pfenet,
        rules=PFENET_KEYS,
        losses=dict(loss_main='loss_final', loss_aux='loss_auxiliary'),
        training_outputs=training_step,
    )
)
