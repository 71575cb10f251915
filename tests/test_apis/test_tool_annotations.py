# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Files of annotation tools as supports: the same bank as the mask gives, from Python and from the command line."""

import json

import api_toys as toys
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from mmfss.apis import FewShotInferencer
from mmfss.apis.support_masks import support_mask
from mmfss.datasets.annotations import AnnotationError
from mmfss.datasets.synthetic.writer import voc_palette

SHAPE = (60, 80)


def box_mask(x1=10, y1=8, x2=50, y2=40):
    mask = np.zeros(SHAPE, bool)
    mask[y1:y2, x1:x2] = True
    return mask


def labelme(labels=('gear',), **fields):
    shapes = [
        dict(label=label, points=[[10 + 60 * i, 8], [50 + 25 * i, 40]], shape_type='rectangle')
        for i, label in enumerate(labels)
    ]
    return dict(shapes=shapes, imagePath='a.png', imageHeight=SHAPE[0], imageWidth=SHAPE[1], **fields)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toys.save(toys.photo(0), tmp_path / 'a.png')
    (tmp_path / 'a.json').write_text(json.dumps(labelme()))
    (tmp_path / 'two.json').write_text(json.dumps(labelme(['gear', 'nut'])))
    return tmp_path


@pytest.fixture(scope='module')
def inferencer(weights):
    return FewShotInferencer(toys.tiny_config(), weights / 'BaseLearnerEnsemble.pth', device='cpu', show_progress=False)


def test_a_file_gives_the_bank_of_its_mask(inferencer, place):
    mask, rle = box_mask(), coco_mask.encode(np.asfortranarray(box_mask().astype(np.uint8)))
    wanted = inferencer.register('gear', 'a.png', mask).key
    np.save('a.npy', mask)
    for annotation in (
        'a.json',
        dict(mask='two.json', label='gear'),
        labelme(),
        dict(mask=labelme(['gear', 'nut']), label='gear'),
        dict(size=rle['size'], counts=rle['counts']),
        dict(segmentation=[[10, 8, 50, 8, 50, 40, 10, 40]]),
        dict(mask=dict(size=rle['size'], counts=rle['counts'].decode())),
        'a.npy',
        place / 'a.npy',
        dict(mask='a.npy', value=1),
    ):
        assert inferencer.register('gear', 'a.png', annotation).key == wanted


def test_a_segmentation_comes_back_as_a_support(inferencer, place):
    gear = inferencer.register('gear', 'a.png', 'a.json')
    (result,) = inferencer('a.png', gear, out_dir='out', threshold=0.3)
    again = inferencer.register('gear', 'a.png', 'out/annotations.json')
    assert again.key == inferencer.register('gear', 'a.png', result.mask.astype(bool)).key


def test_what_is_wrong_is_said(place):
    def labels(annotation, path='a.png'):
        return support_mask(annotation, SHAPE, f'the image {path}', path)

    with pytest.raises(
        AnnotationError, match=r'two\.json has objects of 2 labels: gear, nut.*label=NAME.*--label NAME'
    ):
        labels('two.json')
    with pytest.raises(AnnotationError, match="no object of the label 'bolt'; it has gear"):
        labels(dict(mask='a.json', label='bolt'))
    (place / 'b.json').write_text(json.dumps(labelme() | dict(imageWidth=81)))
    with pytest.raises(AnnotationError, match=r'b\.json was made for an image of 81x60 pixels, a\.png is 80x60'):
        labels('b.json')
    (place / 'c.json').write_text('{"_via_settings": {}, "_via_img_metadata": {}}')
    with pytest.raises(AnnotationError, match=r'c\.json looks like a project of the VGG Image Annotator'):
        labels('c.json')
    with pytest.raises(FileNotFoundError, match='no mask none.json'):
        labels('none.json')


def test_labels_of_mask_images(place):
    values = box_mask().astype(np.uint8) * 8
    values[50:] = 3
    image = Image.fromarray(values)
    image.putpalette(voc_palette())
    image.save('voc.png')
    for label in ('8', 8, 'cat'):
        assert (support_mask(dict(mask='voc.png', label=label), SHAPE, 'x') == box_mask()).all()
    Image.fromarray(box_mask().astype(np.uint8) * 255).save('plain.png')  # beside files with labels
    assert (support_mask(dict(mask='plain.png', label='gear'), SHAPE, 'x') == box_mask()).all()
