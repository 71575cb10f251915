#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Segment an image with an exported model: onnxruntime, NumPy and Pillow only.

python demo/onnx_segment.py exported query.jpg mask.png support1.jpg mask1.png [support2.jpg mask2.png ...]
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from onnx_images import read_image, read_mask
from PIL import Image

if len(sys.argv) < 6 or len(sys.argv) % 2:
    sys.exit(__doc__)
folder, query, out, *supports = sys.argv[1:]
facts = json.loads(Path(folder, 'export.json').read_text())
steps = facts['preprocessing']
side = next((step['size'] for step in steps['geometry'] if step['type'].endswith('ResizeLongSide')), None)
if side is None:
    sys.exit(f'onnx_segment.py: {folder} was made for another geometry than ResizeLongSide: {steps["geometry"]}')


def fit(image: Image.Image, way: Image.Resampling) -> tuple[np.ndarray, tuple[int, int]]:
    """The image at the top left of a square, as ResizeLongSide puts it, and its size (w, h) there."""
    fitted = image.resize([max(8, int(s * side / max(image.size)) // 8 * 8) for s in image.size], way)
    square = Image.new(image.mode, (side, side))
    square.paste(fitted)
    return np.asarray(square, np.float32), fitted.size


def photo(image: Image.Image) -> np.ndarray:
    """(3, H, W), normalised."""
    image = fit(image, Image.Resampling.BILINEAR)[0]
    image = image if steps['channel_order'] == 'RGB' else image[..., ::-1]
    return ((image - np.float32(steps['mean'])) / np.float32(steps['std'])).transpose(2, 0, 1)


try:
    query, *pictures = (read_image(path) for path in (query, *supports[::2]))
    marked = [read_mask(path, image.size) for path, image in zip(supports[1::2], pictures, strict=True)]
except (OSError, ValueError) as error:
    sys.exit(f'onnx_segment.py: {error}')
encoder, segmenter = (
    onnxruntime.InferenceSession(Path(folder, facts['files'][name])) for name in ('support_encoder', 'segmenter')
)
images = np.stack([photo(image) for image in pictures])
masks = np.stack([fit(mask, Image.Resampling.NEAREST)[0] > 0 for mask in marked]).astype(np.float32)
names = facts['support_encoder']['outputs']
bank = dict(zip(names, encoder.run(names, dict(images=images, masks=masks)), strict=True))  # keep: any query may follow

wanted = {value.name for value in segmenter.get_inputs()}
inputs = dict(bank, query=photo(query)[None])
(scores,) = segmenter.run(['scores'], {name: value for name, value in inputs.items() if name in wanted})
size, (width, height) = query.size, fit(query, Image.Resampling.NEAREST)[1]
foreground = Image.fromarray((scores[0, 1] - scores[0, 0])[:height, :width]).resize(size, Image.Resampling.BILINEAR)
Image.fromarray((np.asarray(foreground) > 0).astype(np.uint8) * 255).save(out)
