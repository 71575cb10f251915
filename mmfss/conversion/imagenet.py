# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Names of the ImageNet weights that PSPNet and BAM start from, in our backbones."""

from collections.abc import Mapping

from torch import Tensor

from mmfss.utils.wording import listed

from .names import ConversionError, rename, strip_parallel_prefix
from .variant import detect_backbone

# The deep stem of hszhao/semseg's resnet50_v2.pth and resnet101_v2.pth; the rest is torchvision's.
RESNET_INIT_KEYS: tuple[tuple[str, str], ...] = (
    (r'conv1\.(\w+)', r'stem.0.\1'),
    (r'bn1\.(\w+)', r'stem.1.\1'),
    (r'conv2\.(\w+)', r'stem.3.\1'),
    (r'bn2\.(\w+)', r'stem.4.\1'),
    (r'conv3\.(\w+)', r'stem.6.\1'),
    (r'bn3\.(\w+)', r'stem.7.\1'),
    (r'(layer[1-4]\..+)', r'\1'),
)


def _vgg_keys(starts: tuple[int, ...]) -> tuple[tuple[str, str], ...]:
    """Names of torchvision's `features`, in which the slices layer0 to layer4 begin at these indices."""
    return tuple(
        (rf'features\.{start + i}\.(\w+)', rf'layer{layer}.{i}.\1')
        for layer, (start, end) in enumerate(zip(starts, starts[1:], strict=False))
        for i in range(end - start)
    )


VGG_INIT_KEYS = _vgg_keys((0, 7, 14, 24, 34, 44))
PLAIN_VGG_INIT_KEYS = _vgg_keys((0, 5, 10, 17, 24, 31))  # without BatchNorm
_CLASSIFIERS = ('fc.', 'classifier.')  # of ImageNet; a backbone has none


def convert_imagenet(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """ImageNet weights as those of BlockResNet, BlockVGG or PlainVGG.

    Args:
        state (Mapping[str, Tensor]): State dict of PSPNet's ``resnet50_v2.pth`` or
            ``resnet101_v2.pth``, or of torchvision's ``vgg16_bn`` or ``vgg16``.

    Returns:
        tuple[str, dict[str, Tensor]]: 'vgg16' (with BatchNorm), 'plain_vgg16', 'r50' or 'r101', and the backbone's
        weights.

    Raises:
        ConversionError: When it is something else; the message names the keys.
    """
    state = {key: value for key, value in strip_parallel_prefix(state).items() if not key.startswith(_CLASSIFIERS)}
    vgg = any(key.startswith('features.') for key in state)
    plain = vgg and not any(key.endswith('running_mean') for key in state)
    renamed, unknown = rename(state, PLAIN_VGG_INIT_KEYS if plain else VGG_INIT_KEYS if vgg else RESNET_INIT_KEYS)
    if unknown or not renamed:
        raise ConversionError(
            'neither vgg16, vgg16_bn nor a ResNet of PSPNet: unknown keys '
            f'{listed(unknown, 6) or "(the file is empty)"}'
        )
    if 'stem.0.weight' in renamed and 'stem.3.weight' not in renamed:
        raise ConversionError(
            f'conv1.weight {tuple(renamed["stem.0.weight"].shape)} without conv2.weight is the '
            'one-conv stem of torchvision; PSPNet has three convs (resnet50_v2.pth, '
            'resnet101_v2.pth)'
        )
    return 'plain_vgg16' if plain else detect_backbone(renamed), renamed
