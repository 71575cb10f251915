# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Files as annotation tools write them, of one scene: a cat (a rectangle and a triangle) and a dog (a square)."""

import base64
import io
import json

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

H, W = 40, 60
CAT = [(10, 5, 30, 25), (40, 10, 50, 30)]  # boxes x1, y1, x2, y2
DOG = [(5, 30, 15, 38)]


def region(boxes):
    mask = np.zeros((H, W), bool)
    for x1, y1, x2, y2 in boxes:
        mask[y1:y2, x1:x2] = True
    return mask


CAT_MASK, DOG_MASK = region(CAT), region(DOG)
OBJECTS = [('cat', box) for box in CAT] + [('dog', box) for box in DOG]


def corners(box):
    x1, y1, x2, y2 = box
    return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]


def png_text(mask):
    stream = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(stream, 'PNG')
    return base64.b64encode(stream.getvalue()).decode()


def labelme_shape(kind, label, box):
    x1, y1, x2, y2 = box
    shape = dict(label=label, points=corners(box), shape_type=kind, flags={}, group_id=None)
    if kind == 'rectangle':
        shape['points'] = [[x2, y1], [x1, y2]]
    if kind == 'mask':
        shape.update(points=[[x1, y1], [x2 - 1, y2 - 1]], mask=png_text(np.ones((y2 - y1, x2 - x1))))
    return shape


def labelme(kind='polygon', **fields):
    shapes = [labelme_shape(kind, *item) for item in OBJECTS]
    content = dict(version='5.4.1', flags={}, shapes=shapes, imagePath='a.jpg', imageData=None)
    return {**content, 'imageHeight': H, 'imageWidth': W, **fields}


def coco(kind='polygon', names=('a.jpg', 'b.jpg')):
    """The scene is the one of the first image; the second holds one cat at another place."""
    annotations = []
    items = [(0, *item) for item in OBJECTS] + [(1, 'cat', (0, 0, 10, 10))]
    for number, (image, label, box) in enumerate(items, 1):
        mask = np.asfortranarray(region([box]).astype(np.uint8))
        rle = coco_mask.encode(mask)
        flat = mask.reshape(-1, order='F')
        edges = np.flatnonzero(np.diff(flat)) + 1
        runs = np.diff([0, *edges, flat.size]).tolist()
        segmentation = dict(
            polygon=[[v for corner in corners(box) for v in corner]],
            flat=[v for corner in corners(box) for v in corner],
            rle=dict(size=[H, W], counts=rle['counts'].decode()),
            runs=dict(size=[H, W], counts=[0, *runs] if flat[0] else runs),
            rle_list=[dict(size=[H, W], counts=rle['counts'].decode())],
            box=[],
        )[kind]
        x1, y1, x2, y2 = box
        annotations.append(
            dict(
                id=number,
                image_id=10 + image,
                category_id=3 if label == 'cat' else 7,
                segmentation=segmentation,
                bbox=[x1, y1, x2 - x1, y2 - y1],
                iscrowd=0,
            )
        )
    images = [dict(id=10 + i, file_name=name, height=H, width=W) for i, name in enumerate(names)]
    return dict(images=images, annotations=annotations, categories=[dict(id=3, name='cat'), dict(id=7, name='dog')])


def yolo(kind='polygon'):
    lines = []
    for label, (x1, y1, x2, y2) in OBJECTS:
        if kind == 'polygon':
            values = [v for x, y in corners((x1, y1, x2, y2)) for v in (x / W, y / H)]
        else:
            values = [(x1 + x2) / 2 / W, (y1 + y2) / 2 / H, (x2 - x1) / W, (y2 - y1) / H]
        lines.append(' '.join([str(int(label == 'dog')), *(f'{v:.6f}' for v in values)]))
    return '\r\n'.join(lines) + '\r\n'


def cvat(kind='polygon', name='photos/a.jpg'):
    shapes = []
    for label, (x1, y1, x2, y2) in OBJECTS:
        w, h = x2 - x1, y2 - y1
        points = ';'.join(f'{x:.2f},{y:.2f}' for x, y in corners((x1, y1, x2, y2)))
        shapes.append(
            dict(
                polygon=f'<polygon label="{label}" occluded="0" points="{points}" z_order="0"></polygon>',
                box=f'<box label="{label}" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}"/>',
                mask=f'<mask label="{label}" rle="0, {w * h}" left="{x1}" top="{y1}" width="{w}" height="{h}"/>',
            )[kind]
        )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task/></meta>'
        f'<image id="0" name="{name}" width="{W}" height="{H}">{"".join(shapes)}</image>'
        f'<image id="1" name="photos/b.jpg" width="{W}" height="{H}"></image></annotations>'
    )


def voc():
    items = ''.join(
        f'<object><name>{label}</name><difficult>0</difficult><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>'
        f'<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>'
        for label, (x1, y1, x2, y2) in OBJECTS
    )
    size = f'<size><width>{W}</width><height>{H}</height><depth>3</depth></size>'
    return f'<annotation><folder>x</folder><filename>a.jpg</filename>{size}{items}</annotation>'


def indices():
    labels = np.zeros((H, W), np.uint8)
    labels[CAT_MASK], labels[DOG_MASK] = 3, 7
    return labels


def write(folder, kind):
    """Write the scene's file of a kind such as 'labelme rectangle', and give its path and the label of the cat."""
    tool, _, how = kind.partition(' ')
    options = [how] if how else []
    if tool in ('labelme', 'coco'):
        path = folder / 'a.json'
        path.write_text(json.dumps(dict(labelme=labelme, coco=coco)[tool](*options)))
    elif tool in ('cvat', 'voc'):
        path = folder / 'a.xml'
        path.write_text(dict(cvat=cvat, voc=voc)[tool](*options))
    elif tool == 'yolo':
        path = folder / 'labels/a.txt'
        path.parent.mkdir()
        path.write_bytes(yolo(*options).encode())
        (folder / 'data.yaml').write_text('names: {0: cat, 1: dog}\nnc: 2\n')
    else:
        path = folder / f'a.{tool}'
        np.save(path, indices()) if tool == 'npy' else Image.fromarray(indices()).save(path)
        return path, '3'
    return path, 'cat'


KINDS = (
    *(f'labelme {how}' for how in ('polygon', 'rectangle', 'mask')),
    *(f'coco {how}' for how in ('polygon', 'flat', 'rle', 'runs', 'rle_list', 'box')),
    'yolo polygon',
    'yolo box',
    *(f'cvat {how}' for how in ('polygon', 'box', 'mask')),
    'voc',
    'npy',
    'png',
)
