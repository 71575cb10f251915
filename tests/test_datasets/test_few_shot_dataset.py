# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Folds, candidates, base labels, and every way in which data can be wrong."""

import numpy as np
import pytest
import torch
from helpers import AREA, BIG, HEIGHT, SMALL, WIDTH, jpeg, pascal, png, scenes, write_voc
from PIL import Image

from mmfss.datasets import COCO20iDataset, FewShotSegDataset
from mmfss.registry import DATASETS

STAGE1 = [dict(type='LoadFewShotImage'), dict(type='LoadAnnotations'), dict(type='mmseg.PackSegInputs')]


def build(root, phase='val', **kwargs):
    return DATASETS.build(pascal(root, phase, **kwargs))


@pytest.mark.parametrize('fold', range(4))
def test_folds(voc, fold):
    dataset = build(voc, fold=fold)
    assert dataset.novel_class_ids == tuple(range(5 * fold + 1, 5 * fold + 6))
    assert len(dataset.base_class_ids) == 15
    assert set(dataset.base_class_ids) | set(dataset.novel_class_ids) == set(range(1, 21))
    assert dataset.class_names[:3] == ('background', 'aeroplane', 'bicycle')
    assert dataset.phase_class_ids == dataset.novel_class_ids
    assert build(voc, 'train', fold=fold).phase_class_ids == dataset.base_class_ids


@pytest.mark.parametrize('fold', [-1, 4, 'one'])
def test_fold_outside_0_to_3(voc, fold):
    with pytest.raises(ValueError, match=r'`fold` is .* has folds 0 to 3.*--fold'):
        build(voc, fold=fold)


def test_validation_keeps_candidates_of_novel_classes(voc):
    dataset = build(voc, fold=1)  # novel 6..10
    names = [dataset.get_data_info(i)['name'] for i in range(len(dataset))]
    assert names == [name for name in scenes('val') if 6 <= int(name[4:6]) <= 10]
    assert [dataset.name(dataset.position(i)) for i in dataset.candidates(8)] == [f'val_08_{k}' for k in range(4)]
    info = dataset.get_data_info(3)  # val_06_3: class 6, and a little of class 7
    assert info['class_ids'] == (6, 7) and info['img_path'].endswith('val_06_3.jpg')
    assert dataset.get_data_info(19)['class_ids'] == (10,)  # 11 is not novel


def test_training_leaves_out_images_with_novel_classes(voc):
    dataset = build(voc, 'train', fold=1)
    names = [dataset.get_data_info(i)['name'] for i in range(len(dataset))]
    # train_05_3 holds a little of novel class 6.
    base = [n for n in scenes('train') if not 6 <= int(n[6:8]) <= 10 and n != 'train_05_3']
    assert names == base
    kept = build(voc, 'train', fold=1, exclude_novel=False)
    assert len(kept) == len(base) + 1 and len(kept.candidates(5)) == 4


def test_area_rule_counts_pixels(voc):
    assert len(build(voc, fold=0, candidate_area=BIG).candidates(2)) == 4
    # Class 2 is small in val_01_3 as well.
    assert len(build(voc, fold=0, candidate_area=SMALL).candidates(2)) == 5
    with pytest.raises(ValueError, match='No image .* smaller area'):
        build(voc, fold=0, candidate_area=BIG + 1)


def test_base_labels_for_stage_1(voc):
    dataset = build(voc, 'train', fold=1, labels='base', image_filter='none', pipeline=STAGE1)
    assert len(dataset) == 80
    meta = dataset.metainfo
    assert len(meta['classes']) == len(meta['palette']) == 16
    assert meta['classes'][1] == 'aeroplane' and meta['classes'][6] == 'diningtable'
    labels = dataset[4 * 5]['data_samples'].gt_sem_seg.data  # train_06_0: novel
    assert labels.unique().tolist() == [0, 255]
    labels = dataset[4 * 10 + 3]['data_samples'].gt_sem_seg.data  # train_11_3: 11 and 12
    assert labels.unique().tolist() == [0, 6, 7, 255] and (labels == 6).sum() == BIG


def test_novel_classes_may_be_ignored_in_stage_1(voc):
    dataset = build(voc, 'train', fold=1, labels='base', novel_label=255, image_filter='none', pipeline=STAGE1)
    labels = dataset[4 * 5]['data_samples'].gt_sem_seg.data  # train_06_0: novel
    plain = build(voc, 'train', fold=1, image_filter='none', pipeline=STAGE1)[4 * 5]['data_samples'].gt_sem_seg.data
    assert labels.unique().tolist() == [0, 255] and torch.equal(labels == 255, plain != 0)
    assert dataset.base_label_map[6] == 255 and dataset.base_label_map[11] == 6
    with pytest.raises(ValueError, match='`novel_label` is 1'):
        build(voc, 'train', labels='base', novel_label=1)


def test_base_label_map_agrees_with_mmsegs(voc):
    dataset = build(voc, fold=2, labels='base', image_filter='none')
    assert all(dataset.base_label_map[old] == new for old, new in dataset.label_map.items())
    assert dataset.base_label_map[255] == 255
    assert dataset.base_label_map[11] == 0 and dataset.base_label_map[16] == 11


def test_a_class_without_images_is_told_once(tmp_path, logged):
    images = {name: parts for name, parts in scenes('val').items() if name[4:6] != '03'}
    build(write_voc(tmp_path, val=images), fold=0)
    assert [m for m in logged if 'bird' in m] == [
        f'val images of fold 0: no image in which bird covers {AREA} pixels or more; episodes leave this class out.'
    ]


def test_subsets_draw_from_themselves(voc):
    dataset = build(voc, fold=0, indices=6)
    assert len(dataset) == 6 and dataset.candidates(2).tolist() == [4, 5]
    subset = build(voc, fold=0).get_subset([0, 5])
    assert len(subset) == 2 and subset.candidates(2).tolist() == [1]


def test_any_classes_and_split(voc):
    classes = ['background', *(f'c{i}' for i in range(1, 21))]
    config = pascal(
        voc,
        metainfo=dict(classes=classes),
        novel_classes=['c2', 5],
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassAug'),
    )
    dataset = DATASETS.build({**config, 'type': FewShotSegDataset})
    assert dataset.novel_class_ids == (2, 5) and len(dataset) == 8
    for wrong in (['c2', 'cat'], [], [0, 3]):
        with pytest.raises(ValueError, match='novel_classes'):
            DATASETS.build({**config, 'type': FewShotSegDataset, 'novel_classes': wrong})


def test_training_on_all_classes(voc):
    dataset = DATASETS.build(pascal(voc, phase='train', novel_classes=[]))
    assert dataset.novel_class_ids == () and dataset.base_class_ids == tuple(range(1, 21))
    held_out = DATASETS.build(pascal(voc, phase='train'))
    assert len(dataset) > len(held_out)


@pytest.mark.parametrize('scheme, novel', [('fwb', (2, 6, 10)), ('panet', (21, 22, 23))])
def test_coco_folds(tmp_path, scheme, novel):
    for folder in ('val2014', 'annotations/val2014'):
        (tmp_path / folder).mkdir(parents=True)
    for name in ('z', 'a'):
        Image.new('RGB', (WIDTH, HEIGHT)).save(tmp_path / f'val2014/{name}.jpg')
        Image.new('L', (WIDTH, HEIGHT), novel[0]).save(tmp_path / f'annotations/val2014/{name}.png')
    dataset = COCO20iDataset(data_root=str(tmp_path), fold=1, scheme=scheme, phase='val', candidate_area=AREA)
    assert dataset.novel_class_ids[:3] == novel and len(dataset.novel_class_ids) == 20
    assert len(dataset.class_names) == 81 and dataset.class_names[79] == 'hair drier'
    assert [dataset.get_data_info(i)['name'] for i in range(2)] == ['a', 'z']


# ---------------------------------------------------------------- bad input


def test_missing_root_and_list(voc, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'data root .*nowhere does not exist.*--data-root'):
        build(tmp_path / 'nowhere')
    with pytest.raises(FileNotFoundError, match=r'list .*none\.txt.*does not exist'):
        DATASETS.build({**pascal(voc), 'ann_file': 'none.txt'})
    with pytest.raises(FileNotFoundError, match='seg_map_path'):
        build(voc, data_prefix=dict(img_path='JPEGImages', seg_map_path='Masks'))


def test_missing_image(own_voc):
    jpeg(own_voc, 'val_01_1').unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of 80 image files .*val_01_1\.jpg'):
        build(own_voc)


def test_empty_list_and_name_twice(own_voc):
    listed = own_voc / 'ImageSets/Segmentation/val.txt'
    listed.write_text('val_01_1\nval_01_2\nval_01_1\n')
    with pytest.raises(ValueError, match='val_01_1 occurs twice'):
        build(own_voc)
    listed.write_text('\n')
    with pytest.raises(ValueError, match='no image'):
        build(own_voc)


def test_mask_of_another_size(own_voc):
    Image.new('L', (WIDTH, HEIGHT + 1)).save(png(own_voc, 'val_02_0'))
    with pytest.raises(ValueError, match=r'1 masks differ .*val_02_0\.png with \(33, 40\)'):
        build(own_voc)


def test_mask_with_values_outside_the_classes(own_voc):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[0, :2] = 21, 200
    Image.fromarray(mask).save(png(own_voc, 'val_02_0'))
    with pytest.raises(ValueError, match=r'outside .* 0 to 20 .*val_02_0\.png .*\[21, 200'):
        build(own_voc)


def test_image_that_cannot_be_opened(own_voc, logged):
    for split in ('train', 'val'):
        jpeg(own_voc, f'{split}_01_1').write_bytes(b'no image')
    with pytest.raises(ValueError, match=r'1 images cannot be opened.*val_01_1\.jpg'):
        build(own_voc)
    assert len(build(own_voc, 'train', fold=3).candidates(1)) == 3
    assert any('train_01_1.jpg' in m and 'left out' in m for m in logged)


def test_corrupt_jpeg_in_stage_1(own_voc):
    file = jpeg(own_voc, 'train_01_1')
    file.write_bytes(file.read_bytes()[:-200])  # the header still tells a size
    options = dict(labels='base', image_filter='none', pipeline=STAGE1)
    training = build(own_voc, 'train', **options)
    with pytest.warns(RuntimeWarning, match=r'train_01_1\.jpg is corrupt'):
        assert training[1]['inputs'].shape == (3, HEIGHT, WIDTH)
    with pytest.raises(ValueError, match=r'train_01_1\.jpg is corrupt'):
        build(own_voc, 'train', test_mode=True, **options)[1]


def test_a_class_named_twice(voc):
    config = pascal(voc, metainfo=dict(classes=('background', 'cat', 'dog', 'cat')), novel_classes=['cat'])
    with pytest.raises(ValueError, match=r"`metainfo.classes` needs .* each once: .*'dog', 'cat'"):
        DATASETS.build({**config, 'type': FewShotSegDataset})


@pytest.mark.parametrize(
    'wrong', [dict(labels='all'), dict(image_filter='x'), dict(candidate_area=0), dict(reduce_zero_label=True)]
)
def test_wrong_options_name_their_key(voc, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        build(voc, **wrong)
