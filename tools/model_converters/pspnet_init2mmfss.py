#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Convert ImageNet weights of the full-size backbones.

PSPNet's ``resnet50_v2.pth`` and ``resnet101_v2.pth`` (hszhao/semseg), or torchvision's ``vgg16_bn`` and ``vgg16``:

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

# Backbone -> its file's name in configs/_base_/models, how they build it, and configs that read it.
_RESNET = dict(type='BlockResNet', deep_stem=True, stem_channels=128, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
TARGETS = dict(
    vgg16=('vgg16_bn.pth', dict(type='BlockVGG'), ('pspnet/vgg16_pascal', 'pspnet/vgg16_coco')),
    plain_vgg16=('vgg16.pth', dict(type='PlainVGG'), ('panet/vgg16_pascal_1shot', 'hsnet/vgg16_pascal_1shot')),
    r50=('resnet50_v2.pth', dict(_RESNET, depth=50), ('pspnet/r50_pascal', 'pspnet/r50_coco')),
    r101=('resnet101_v2.pth', dict(_RESNET, depth=101), ('pspnet/r101_pascal', 'pspnet/r101_coco')),
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
        name, cfg, configs = TARGETS[backbone]
        title = BACKBONES.get(backbone, 'VGG16 without BatchNorm')
        state = load_strictly(MODELS.build(cfg), weights, title)
    except (ConversionError, FileNotFoundError) as error:
        parser.exit(1, f'{args.src}: {error}\n')
    dst = args.dst or Path(os.environ.get('MMFSS_PRETRAINED', 'pretrained')) / name
    atomic_torch_save(dict(state_dict=state, meta=dict(source=Path(args.src).name)), dst)
    print(
        f'{args.src}: ImageNet weights of {title}\n'
        f'config:  {", ".join(f"configs/{config}.py" for config in configs)}\n'
        f'written: {dst} ({len(state)} tensors)'
    )


if __name__ == '__main__':
    main()
