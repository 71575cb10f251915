#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Convert ImageNet weights of the full-size backbones.

PSPNet's ``resnet50_v2.pth`` and ``resnet101_v2.pth`` (hszhao/semseg), or torchvision's ``vgg16_bn``:

    python tools/model_converters/pspnet_init2mmfss.py resnet50_v2.pth [DST]
"""

import argparse
import os
from pathlib import Path

from mmengine.registry import init_default_scope

from mmfss.conversion import ConversionError
from mmfss.conversion.files import load_strictly, read_weights
from mmfss.conversion.imagenet import convert_imagenet
from mmfss.conversion.variant import BACKBONES
from mmfss.registry import MODELS
from mmfss.utils.checkpoint_files import add_trust_option
from mmfss.utils.files import atomic_torch_save
from mmfss.utils.plain_errors import plain_errors

# Backbone -> its file's name in configs/_base_/models/pspnet_*.py, and how they build it.
_RESNET = dict(type='BlockResNet', deep_stem=True, stem_channels=128, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
TARGETS = dict(
    vgg16=('vgg16_bn.pth', dict(type='BlockVGG')),
    r50=('resnet50_v2.pth', dict(_RESNET, depth=50)),
    r101=('resnet101_v2.pth', dict(_RESNET, depth=101)),
)


@plain_errors('pspnet_init2mmfss')
def main() -> None:
    """Convert."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', help='ImageNet weights')
    parser.add_argument('dst', nargs='?', help='file to write; default: where the configs look')
    add_trust_option(parser, '--trust')
    args = parser.parse_args()
    init_default_scope('mmfss')
    try:
        backbone, weights = convert_imagenet(read_weights(args.src))
        name, cfg = TARGETS[backbone]
        state = load_strictly(MODELS.build(cfg), weights, BACKBONES[backbone])
    except (ConversionError, FileNotFoundError) as error:
        parser.exit(1, f'{args.src}: {error}\n')
    dst = args.dst or Path(os.environ.get('MMFSS_PRETRAINED', 'pretrained')) / name
    atomic_torch_save(dict(state_dict=state, meta=dict(source=Path(args.src).name)), dst)
    print(
        f'{args.src}: ImageNet weights of {BACKBONES[backbone]}\n'
        f'config:  configs/pspnet/{backbone}_pascal.py, configs/pspnet/{backbone}_coco.py\n'
        f'written: {dst} ({len(state)} tensors)'
    )


if __name__ == '__main__':
    main()
