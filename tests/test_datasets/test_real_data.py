# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Published counts and reference outputs on real data; skipped where it is absent."""

import tarfile

import numpy as np
import pytest
from mmengine.dataset import Compose

from mmfss.datasets import COCO20iDataset, EpisodicDataset, Pascal5iDataset
from mmfss.datasets.pipelines import build_transforms

# spec: fold -> training images, validation images, training without the filter, per novel class
COUNTS = {
    0: (4208, 364, 4760, [81, 63, 89, 61, 71]),
    1: (3726, 445, 4588, [70, 100, 118, 110, 69]),
    2: (2752, 592, 4097, [73, 125, 76, 74, 386]),
    3: (4510, 336, 5108, [63, 53, 90, 82, 69]),
}
# RGB; float32, as the reference means were accumulated in it
MEAN = np.array([123.675, 116.28, 103.53], np.float32)
STD = np.array([58.395, 57.12, 57.375], np.float32)


@pytest.fixture(scope='module')
def all_masks(shared, tmp_path_factory):
    root = tmp_path_factory.mktemp('masks')
    for archive in ('SegmentationClassAug', 'ImageSets'):
        with tarfile.open(shared / f'data/pascal_voc_aug_masks/{archive}.tar.gz') as file:
            file.extractall(root, filter='data')
    return root


@pytest.mark.slow
@pytest.mark.parametrize('fold', range(4))
def test_published_counts_of_pascal5i(all_masks, fold):
    # There are masks only: they stand for their images too.
    options = dict(
        data_root=str(all_masks),
        fold=fold,
        img_suffix='.png',
        data_prefix=dict(img_path='SegmentationClassAug', seg_map_path='SegmentationClassAug'),
    )
    train = dict(ann_file='ImageSets/train_5953.txt', **options)
    val = Pascal5iDataset(ann_file='ImageSets/voc_val.txt', phase='val', **options)
    found = (
        len(Pascal5iDataset(**train)),
        len(val),
        len(Pascal5iDataset(exclude_novel=False, **train)),
        [len(val.candidates(c)) for c in val.novel_class_ids],
    )
    assert found == COUNTS[fold]
    listed = (all_masks / 'ImageSets/voc_val.txt').read_text().split()
    names = [val.get_data_info(i)['name'] for i in range(len(val))]
    assert names == [name for name in listed if name in set(names)]  # list order


@pytest.mark.parametrize('case', range(3))
def test_test_geometry_of_the_reference(shared, case):
    reference = np.load(shared / 'golden/pipeline.npz')
    gold = {key[2:]: reference[key] for key in reference.files if key.startswith(f'{case}_')}
    dataset = Pascal5iDataset(
        data_root=str(shared / 'data/pascal5i_mini/VOC2012'),
        fold=int(gold['fold']),
        phase='val',
        ann_file='ImageSets/Segmentation/val.txt',
        image_filter='none',
        candidate_area=512,
    )
    image, resize = dict(type='LoadFewShotImage'), dict(type='ResizeLongSide', size=int(gold['size']))
    labels = dict(type='LoadFewShotAnnotations', with_base=True)

    def run(*steps):
        results = dataset.describe(dataset.positions_of([str(gold['name'])])[0])
        results.update(class_id=int(gold['class']), base_label_map=dataset.base_label_map)
        return Compose(build_transforms(steps))(results)

    support = run(image, labels, resize)
    normalised = ((support['img'][..., ::-1] - MEAN) / STD).transpose(2, 0, 1)
    assert np.allclose(normalised[:, ::8, ::8], gold['image'], atol=1e-4)
    assert np.allclose(normalised.mean(axis=(1, 2)), gold['image_mean'], atol=1e-4)
    assert np.array_equal(support['gt_seg_map'], gold['mask'])
    assert np.array_equal(support['gt_base_map'], gold['base'])
    query = run(image, resize, labels)
    h, w = query['ori_shape']
    target = np.full(query['restore_shape'], 255, np.uint8)
    target[:h, :w] = query['gt_seg_map']
    assert np.array_equal(target, gold['target'])


@pytest.mark.parametrize('fold, images', [(1, 197), (2, 230), (3, 78)])
def test_small_real_pascal(shared, fold, images, logged):
    source = dict(
        type='Pascal5iDataset',
        data_root=str(shared / 'data/pascal5i_mini/VOC2012'),
        ann_file='ImageSets/Segmentation/val.txt',
        fold=fold,
        phase='val',
        candidate_area=512,
    )
    load, pack = dict(type='LoadFewShotImage'), dict(type='PackEpisodeInputs')
    labels, resize = dict(type='LoadFewShotAnnotations'), dict(type='ResizeLongSide', size=257)
    dataset = EpisodicDataset(
        source,
        shots=5,
        query_pipeline=[load, resize, labels, pack],
        support_pipeline=[load, labels, resize, pack],
        protocol=dict(type='BalancedProtocol', runs=3, episodes=300, min_images=14),
    )
    assert len(dataset.dataset) == images and len(dataset) == 900
    assert all((s.gt_sem_seg.data == 1).any() for s in dataset[7]['data_samples']['support'])
    assert (fold == 3) == any('train covers' in m for m in logged)  # a class without images


def test_small_real_coco(shared):
    options = dict(data_root=str(shared / 'data/coco20i_mini'), fold=0, candidate_area=512)
    train, val = (COCO20iDataset(phase=phase, **options) for phase in ('train', 'val'))
    assert len(train) and len(val) and len(val.novel_class_ids) == 20
    panet = COCO20iDataset(phase='val', scheme='panet', **options)
    assert panet.novel_class_ids == tuple(range(1, 21))
