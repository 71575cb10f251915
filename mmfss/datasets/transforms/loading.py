# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Loading: whole images only, and the two label maps of an episode."""

import io

import mmengine.fileio as fileio
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from mmfss.registry import TRANSFORMS

from ..class_index import index_values
from ..image_files import decode_image
from ..image_headers import CorruptFileError
from ..mask_files import bright_values, decode_mask

PADDING_MAP = 'padding_map'
BRIGHT = 'bright_mask'


def start_padding_map(results: dict) -> dict:
    """Add ``padding_map`` (h, w) uint8 of zeros to a loaded image and to its ``seg_fields``.

    Every later transform moves it like a label map, so what it fills in, whatever its geometry, is not 0 at the end:
    heads learn where a query holds no photograph, also at inference, where there is no annotation.
    """
    results[PADDING_MAP] = np.zeros(results['img'].shape[:2], dtype=np.uint8)
    results['seg_fields'] = [*results.get('seg_fields', ()), PADDING_MAP]
    return results


@TRANSFORMS.register_module()
class LoadFewShotImage(LoadImageFromFile):
    """Load an image (h, w, 3) in BGR through :func:`mmfss.datasets.image_files.decode_image`.

    A file is read whole and right, whatever its bit depth, colours and transparency, or it is refused. Decoding with
    other than the defaults of ``color_type`` and ``imdecode_backend`` is left to mmcv.

    Required key: ``img_path``. Added keys: ``img``, ``img_shape`` (h, w), ``ori_shape`` (h, w), ``padding_map`` (see
    :func:`start_padding_map`).

    Args:
        to_float32 (bool): Whether to convert to float32, 0-255; resizing is then done in float32,
            as in the published pipeline. Defaults to True.
        **kwargs: See :class:`mmcv.transforms.LoadImageFromFile`.

    Raises:
        CorruptFileError: When the file is cut off or no image.
    """

    def __init__(self, to_float32: bool = True, **kwargs) -> None:
        super().__init__(to_float32=to_float32, **kwargs)

    def transform(self, results: dict) -> dict:
        path = results['img_path']
        if (self.color_type, self.imdecode_backend) == ('color', 'cv2'):
            image = decode_image(fileio.get(path, backend_args=self.backend_args), path)
            results['img'] = image.astype(np.float32) if self.to_float32 else image
            results['img_shape'] = results['ori_shape'] = image.shape[:2]
            return start_padding_map(results)
        try:
            loaded = super().transform(results)
        except Exception as error:  # each decoder raises its own kind
            raise CorruptFileError(f'The image {path} is corrupt ({error}). Fetch it again.') from error
        if loaded is None:
            raise CorruptFileError(f'The image {path} is corrupt. Fetch it again or take it out of the list.')
        return start_padding_map(loaded)


@TRANSFORMS.register_module()
class LoadFewShotAnnotations(LoadAnnotations):
    """Load the index mask and turn it into the label maps of an episode.

    Required keys: ``seg_map_path``, ``class_id``, and ``base_label_map`` (256,) with ``with_base``.
    Optional keys: ``label_table`` (256,), mask value -> class id, -1 for what is left out as 255 is; ``bright_mask``,
    whether the mask is black and white rather than indices (see :mod:`mmfss.datasets.mask_files`).

    Added keys: ``gt_seg_map`` (h, w) uint8 with 1 where the mask holds ``class_id``, 255 where it
    holds 255, else 0; with ``with_base`` also ``gt_base_map`` (h, w) uint8 with 0..N_base and 255.
    Both are in ``seg_fields``, so that every later transform moves them together.

    Args:
        with_base (bool): Whether to add the base-class labels. Defaults to False.
        keep_ignore (bool): False turns 255 into background, as HSNet and its followers do with
            supports. Defaults to True.
        **kwargs: See :class:`mmseg.datasets.transforms.LoadAnnotations`.

    Raises:
        CorruptFileError: When the mask cannot be decoded.
    """

    def __init__(self, with_base: bool = False, keep_ignore: bool = True, **kwargs) -> None:
        super().__init__(**kwargs)
        self.with_base = with_base
        self.keep_ignore = keep_ignore

    def _load_seg_map(self, results: dict) -> None:
        table = results.get('label_table')
        if results.get(BRIGHT):
            labels = _bright(results['seg_map_path'], self.backend_args)
        else:
            labels = _indices(results['seg_map_path'], self.backend_args)
        if table is not None:
            labels = table[labels]
        ignored = labels == 255 if table is None else labels < 0
        own = self._own_labels(labels, results)
        if self.keep_ignore:
            own[ignored] = 255
        maps = dict(gt_seg_map=own)
        if self.with_base:
            base = results['base_label_map'][labels]
            base[ignored] = 255
            maps['gt_base_map'] = base
        results.update(maps)
        results['seg_fields'] = [*results.get('seg_fields', ()), *maps]

    def _own_labels(self, labels: np.ndarray, results: dict) -> np.ndarray:
        """What the episode calls the classes: (h, w) class ids -> (h, w) uint8."""
        return (labels == results['class_id']).astype(np.uint8)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(with_base={self.with_base}, keep_ignore={self.keep_ignore})'


@TRANSFORMS.register_module()
class LoadBrightAnnotations(LoadAnnotations):
    """MMSegmentation's loading of labels, for black and white masks of any kind (stage 1 on class folders).

    Required keys: ``seg_map_path``, ``label_map`` (brightness -> label). Added keys: ``gt_seg_map`` (h, w) uint8.

    Raises:
        CorruptFileError: When the mask cannot be decoded.
    """

    def _load_seg_map(self, results: dict) -> None:
        table = np.array([results['label_map'].get(value, value) for value in range(256)], np.uint8)
        results['gt_seg_map'] = table[_bright(results['seg_map_path'], self.backend_args)]
        results['seg_fields'].append('gt_seg_map')


def _indices(path: str, backend_args: dict | None) -> np.ndarray:
    """As mmseg reads them, but of one row or column as well, and never a mask in colours or of 16 bits cut to 8."""
    data = fileio.get(path, backend_args=backend_args)
    try:
        with Image.open(io.BytesIO(data)) as mask:
            return index_values(mask)
    except Exception as error:  # each decoder raises its own kind
        raise CorruptFileError(f'The mask {path} is corrupt ({error}). Fetch or convert it again.') from error


def _bright(path: str, backend_args: dict | None) -> np.ndarray:
    return decode_mask(fileio.get(path, backend_args=backend_args), path, f'The mask {path}', bright_values)
