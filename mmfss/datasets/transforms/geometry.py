# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Image geometry of training and of the published test pipelines.

Each test geometry also says how its scores return to the original image: key ``restore_shape``
(h, w) is the size to which network-size scores are resized before they are cropped, top left, to
``ori_shape``.
"""

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmseg.datasets.transforms import Resize
from PIL import Image

from mmfss.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ResizeLongSide(BaseTransform):
    """Test geometry of PFENet, BAM and MSANet: keep the aspect, fill up to a square.

    The longer side becomes ``size``, then both sides are rounded down to a multiple of
    ``divisor``; the image (bilinear) and whatever label maps are loaded already (nearest) lie in
    the top left of a square of side ``size``. Filling happens before normalisation.

    Modified keys: ``img``, every key of ``seg_fields``, ``img_shape``. Added keys:
    ``scale_factor``, ``pad_shape``, ``restore_shape`` = a square of the original longer side (the
    published code resizes the scores to it, so that 473 scores cover all of it).

    Args:
        size (int): Side of the square in pixels.
        divisor (int): Sides are multiples of it. Defaults to 8.
        pad_val (float | tuple): Fill of the image. Defaults to 0.
        seg_pad_val (int): Fill of label maps. Defaults to 255.
    """

    def __init__(self, size: int, divisor: int = 8, pad_val=0, seg_pad_val: int = 255) -> None:
        if size < divisor:
            raise ValueError(f'`size` {size} must be at least `divisor` {divisor}.')
        self.size = size
        self.divisor = divisor
        self.pad_val = pad_val if isinstance(pad_val, (int, float)) else tuple(pad_val)
        self.seg_pad_val = seg_pad_val

    def transform(self, results: dict) -> dict:
        h, w = results['img'].shape[:2]
        long = max(h, w)
        # The shorter side is cut, not rounded: a side of 0.999 * divisor must still be one divisor.
        new_h, new_w = (
            max(self.divisor, int(side * self.size / long) // self.divisor * self.divisor) for side in (h, w)
        )
        results = Resize(scale=(new_w, new_h))(results)
        square = (self.size, self.size)
        results['img'] = mmcv.impad(results['img'], shape=square, pad_val=self.pad_val)
        for key in results.get('seg_fields', []):
            results[key] = mmcv.impad(results[key], shape=square, pad_val=self.seg_pad_val)
        results.update(img_shape=square, pad_shape=square, restore_shape=(long, long))
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size}, divisor={self.divisor})'


@TRANSFORMS.register_module()
class SquashResize(Resize):
    """Test geometry of the HSNet family: any aspect becomes a square of side ``size``.

    ``restore_shape`` is the original shape. Label maps are resized nearest, pixel i from floor(i * old / new).

    Args:
        size (int): Side of the square in pixels.
        antialias (bool): Resize images as Pillow does, which averages where it shrinks, as the published data code.
            False samples four pixels, as OpenCV does. Defaults to False.
    """

    def __init__(self, size: int, antialias: bool = False) -> None:
        super().__init__(scale=(size, size))
        self.antialias = antialias

    def transform(self, results: dict) -> dict:
        h, w = results['img'].shape[:2]
        results = super().transform(results)
        results['restore_shape'] = (h, w)
        return results

    def _resize_img(self, results: dict) -> None:
        if not self.antialias:
            super()._resize_img(results)
            return
        (h, w), (new_w, new_h) = results['img'].shape[:2], self.scale
        channels = [Image.fromarray(np.ascontiguousarray(c)) for c in results['img'].transpose(2, 0, 1)]
        image = np.stack([np.asarray(c.resize(self.scale, Image.BILINEAR)) for c in channels], axis=2)
        results.update(img=image, img_shape=(new_h, new_w), scale_factor=(new_w / w, new_h / h), keep_ratio=False)


@TRANSFORMS.register_module()
class ScoreAtNetworkSize(BaseTransform):
    """Judge scores at the size that the geometry gave the image (HSNet and its followers).

    Belongs at the end of a query pipeline that loads the annotation *before* its geometry, so that
    the label map was resized with it, nearest. ``ori_shape`` and ``restore_shape`` become the
    image's present shape.
    """

    def transform(self, results: dict) -> dict:
        shape = results['img'].shape[:2]
        if 'gt_seg_map' in results and results['gt_seg_map'].shape != shape:
            raise ValueError(
                f'ScoreAtNetworkSize: the label map is {results["gt_seg_map"].shape}, the image '
                f'{shape}. Load the annotation before the geometry.'
            )
        results.update(ori_shape=shape, img_shape=shape, restore_shape=shape)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


@TRANSFORMS.register_module()
class RandomScale(BaseTransform):
    """Scale by a uniform factor of the image's own size (mmcv's RandomResize aims at fixed sizes).

    Args:
        ratio_range (tuple): Smallest and largest factor.
    """

    def __init__(self, ratio_range: tuple[float, float]) -> None:
        low, high = ratio_range
        if not 0 < low <= high:
            raise ValueError(f'`ratio_range` must be (low, high) with 0 < low <= high, is {ratio_range}.')
        self.ratio_range = (low, high)

    @cache_randomness
    def _draw(self) -> float:
        return float(np.random.uniform(*self.ratio_range))

    def transform(self, results: dict) -> dict:
        return Resize(scale_factor=self._draw())(results)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(ratio_range={self.ratio_range})'
