# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Lists and folders as users have them: files are used, or named with the reason why not."""

import file_toys as toys
import numpy as np
import pytest
from helpers import TEST_PIPELINES, write_class_folders
from PIL import Image

from mmfss.datasets import (
    DividedFolderDataset,
    EpisodicDataset,
    FewShotSegDataset,
    FolderFewShotDataset,
    WrappedFewShotDataset,
)
from mmfss.datasets.listings import find_files, list_folder, list_pairs, read_lines, say_unused, stem_of

NAMES = ('ant', 'bee')


@pytest.fixture
def folders(tmp_path):
    return write_class_folders(tmp_path / 'own', NAMES)


def divided(root, phase='val', **kwargs):
    return DividedFolderDataset(data_root=str(root), phase=phase, train_images=3, **kwargs)


@pytest.mark.parametrize('coding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be', 'latin-1'])
@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
def test_lists_of_any_coding(tmp_path, coding, end):
    path = tmp_path / 'list.txt'
    path.write_bytes(end.join(['bär', 'cow  ', '', ' dog\t', '']).encode(coding))
    assert read_lines(path) == ['bär', 'cow', 'dog']


def test_suffixes():
    assert stem_of('5.JPG', '.jpg') == stem_of('5.Jpeg', '.jpg') == '5' and stem_of('a.TIFF', '.tif') == 'a'
    assert (
        stem_of('a_Mask.PNG', '_mask.png') == 'a'
        and stem_of('a.png', '.jpg') is None
        and stem_of('.jpg', '.jpg') is None
    )


def test_a_folder_says_what_it_does_not_use(tmp_path):
    for name in ('1.jpg', '2.JPG', '10.jpeg', '1.png', '2.Png', '10.png', '3.png', '._1.jpg', 'Thumbs.db', 'a.webp'):
        (tmp_path / name).touch()
    (tmp_path / 'thumbnails').mkdir()
    (tmp_path / 'gone.jpg').symlink_to(tmp_path / 'nowhere')
    pairs, unused = list_pairs(tmp_path, '.jpg', '.png')
    assert list(pairs) == ['1', '2', '10'] and pairs['2'] == (str(tmp_path / '2.JPG'), str(tmp_path / '2.Png'))
    said = say_unused(unused)
    for part in (
        '2 hidden or of the system (._1.jpg, Thumbs.db)',
        '1 of another suffix (a.webp)',
        '1 folders (thumbnails)',
        '1 dead links (gone.jpg)',
        '1 masks without an image (3.png)',
    ):
        assert part in said
    (tmp_path / '2.jpg').touch()
    with pytest.raises(ValueError, match=r'2\.(jpg|JPG) and 2\.(jpg|JPG): one name twice'):
        list_pairs(tmp_path, '.jpg', '.png')


def test_masks_beside_images_of_the_same_suffix(tmp_path):
    for name in ('1.png', '1_mask.png', '2.png', '2_mask.PNG'):
        (tmp_path / name).touch()
    pairs, unused = list_pairs(tmp_path, '.png', '_mask.png')
    assert list(pairs) == ['1', '2'] and not unused
    assert list_folder(tmp_path, dict(mask='_mask.png')).files['mask'] == {'1': '1_mask.png', '2': '2_mask.PNG'}


def test_names_of_a_list_are_matched(tmp_path):
    (tmp_path / 'in').mkdir()
    for name in ('a.jpg', 'b.JPG', 'in/c.jpeg'):
        (tmp_path / name).touch()
    names, odd = find_files(['a', 'a.jpg', 'b', 'in/c', 'in/c.jpg', 'd'], str(tmp_path), '.jpg')
    assert names == ['a', 'a', 'b', 'in/c', 'in/c', 'd']
    assert odd == {'b': str(tmp_path / 'b.JPG'), 'in/c': str(tmp_path / 'in/c.jpeg')}


def test_class_folders_with_suffixes_of_any_case(folders, logged):
    before = [divided(folders).get_data_info(i)['name'] for i in range(16)]
    for place in ('ant/5.jpg', 'bee/6.jpg', 'ant/7.png'):
        (folders / place).rename((folders / place).with_suffix((folders / place).suffix.upper()))
    dataset = divided(folders)
    assert [dataset.get_data_info(i)['name'] for i in range(len(dataset))] == before
    item = EpisodicDataset(dataset, protocol=dict(type='BalancedProtocol', runs=1, episodes=16), **TEST_PIPELINES)
    assert all((item[i]['data_samples']['query'].gt_sem_seg.data == 1).any() for i in range(16))
    assert any('22 images with masks in 2 classes.' in message for message in logged)


def test_leftovers_of_class_folders_are_named(folders, logged):
    (folders / 'ant/5.jpg').rename(folders / 'ant/5.webp')
    (folders / 'bee/._1.jpg').touch()
    (folders / 'loose.jpg').touch()
    (folders / '__MACOSX').mkdir()
    dataset = divided(folders)
    assert len(dataset) == 15 and dataset.class_names == ('background', *NAMES)
    said = next(message for message in logged if 'Not used' in message)
    for part in ('ant/5.webp', 'masks without an image (ant/5.png)', 'bee/._1.jpg', 'class folders (loose.jpg)'):
        assert part in said


@pytest.mark.parametrize('phase', ['train', 'val'])
def test_masks_of_0_and_1_among_others_are_refused(folders, phase):
    path = folders / 'ant/5.png'
    Image.fromarray(np.array(Image.open(path)) // 255).save(path)
    with pytest.raises(ValueError, match=r'1 of 22 masks hold values, but none from .*128.*ant/5\.png.*threshold=1'):
        divided(folders, phase)
    assert len(divided(folders, threshold=1)) == 16


def test_masks_of_1_with_255_left_out_are_refused(folders):
    path = folders / 'ant/5.png'
    mask = np.array(Image.open(path)) // 255
    mask[0] = 255
    Image.fromarray(mask).save(path)
    with pytest.raises(ValueError, match=r'hold more pixels of 1 than of 255: .*ant/5\.png'):
        divided(folders)


def test_black_masks_are_named(folders, logged):
    Image.new('L', (36, 30)).save(folders / 'bee/7.png')
    assert len(divided(folders)) == 15
    assert any('1 of 22 masks are all black' in message and 'bee/7.png' in message for message in logged)


BLACK_AND_WHITE = {
    '1 bit': Image.fromarray,
    'palette': lambda mask: toys.palette_mask(mask, [0, 0, 0, 255, 255, 255]),
    'inverted palette': lambda mask: toys.palette_mask(mask, [255, 255, 255, 0, 0, 0], dark=1, bright=0),
    'alpha': lambda mask: toys.with_alpha(0, mask * 255),
    '16 bits': lambda mask: Image.fromarray(mask.astype(np.uint16) * 65535),
}


@pytest.mark.parametrize('kind', BLACK_AND_WHITE)
def test_black_and_white_of_any_kind(folders, kind):
    areas = divided(folders)._index.areas(1)
    for path in folders.glob('*/*.png'):
        BLACK_AND_WHITE[kind](np.array(Image.open(path)) > 0).save(path)
    dataset = divided(folders)
    assert np.array_equal(dataset._index.areas(1), areas)
    item = EpisodicDataset(dataset, protocol=dict(type='BalancedProtocol', runs=1, episodes=2), **TEST_PIPELINES)[0]
    assert (item['data_samples']['query'].gt_sem_seg.data == 1).sum() in areas + dataset._index.areas(2)
    stage1 = FolderFewShotDataset(
        data_root=str(folders),
        novel_classes=['bee'],
        phase='train',
        labels='base',
        pipeline=[dict(type='LoadFewShotImage'), dict(type='mmseg.LoadAnnotations'), dict(type='mmseg.PackSegInputs')],
    )
    labels = stage1[0]['data_samples'].gt_sem_seg.data
    assert labels.unique().tolist() == [0, 1] and (labels == 1).sum() == areas[0]


def test_list_files_of_classes(folders):
    (folders / 'novel.txt').write_bytes('bee\r\n'.encode('utf-16'))
    assert FolderFewShotDataset(data_root=str(folders), novel_classes='novel.txt').class_names[-1] == 'bee'


@pytest.fixture
def index_masks(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(6):
        mask = np.zeros((30, 36), np.uint8)
        mask[5:25, 5:20] = 1 + k % 2
        for folder, array in (('images', rng.integers(0, 255, (30, 36, 3), dtype=np.uint8)), ('masks', mask)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / folder / f'{k}.{"jpg" if folder == "images" else "png"}')
    return tmp_path


def indexed(root, **kwargs):
    return FewShotSegDataset(
        data_root=str(root),
        data_prefix=dict(img_path='images', seg_map_path='masks'),
        metainfo=dict(classes=('background', 'car', 'cat')),
        novel_classes=['cat', 'car'][:1],
        phase='val',
        candidate_area=1,
        image_filter='none',
        **kwargs,
    )


def test_folders_of_index_masks(index_masks, logged):
    (index_masks / 'images/1.jpg').rename(index_masks / 'images/1.JPG')
    (index_masks / 'masks/2.png').rename(index_masks / 'masks/2.PNG')
    (index_masks / 'images/._1.jpg').touch()
    (index_masks / 'images/notes.heic').touch()
    dataset = indexed(index_masks)
    assert [dataset.get_data_info(i)['name'] for i in range(len(dataset))] == list('012345')
    assert dataset.get_data_info(1)['img_path'].endswith('1.JPG')
    assert any('6 images' in message and 'notes.heic' in message for message in logged)


def test_lists_of_index_masks(index_masks):
    (index_masks / 'list.txt').write_bytes('\ufeff1.jpg\r\n2\r\n3 \r\n'.encode())
    dataset = indexed(index_masks, ann_file='list.txt')
    assert [dataset.get_data_info(i)['name'] for i in range(len(dataset))] == ['1', '2', '3']
    (index_masks / 'list.txt').write_text('1.jpg\n1\n')
    with pytest.raises(ValueError, match='1 occurs twice'):
        indexed(index_masks, ann_file='list.txt')


def test_an_image_that_cannot_be_opened_is_named_with_the_reason(index_masks):
    (index_masks / 'images/3.jpg').write_bytes(b'<html>')
    with pytest.raises(ValueError, match=r'1 images cannot be opened, .*3\.jpg.* web page'):
        indexed(index_masks)


def test_index_masks_that_are_black_and_white(index_masks, logged):
    path = index_masks / 'masks/3.png'
    Image.fromarray((np.array(Image.open(path)) > 0).astype(np.uint8) * 255).save(path)
    indexed(index_masks)
    assert any('1 of 6 masks hold 0 and 255 only' in message and 'masks/3.png' in message for message in logged)


def test_a_mask_that_is_something_else_is_named(folders):
    (folders / 'ant/5.png').write_bytes(b'%PDF-1.7')
    with pytest.raises(ValueError, match=r'1 of 22 masks cannot be used, .*ant/5\.png: it is no mask image but a PDF'):
        divided(folders)


def test_a_wrapped_data_set_names_what_it_does_not_list(index_masks, logged):
    (index_masks / 'images/1.jpg').rename(index_masks / 'images/1.JPG')
    (index_masks / 'masks/1.png').unlink()
    source = dict(
        type='mmseg.BaseSegDataset',
        data_root=str(index_masks),
        data_prefix=dict(img_path='images', seg_map_path='masks'),
        metainfo=dict(classes=('background', 'car', 'cat'), palette=[[0] * 3, [9] * 3, [99] * 3]),
        img_suffix='.jpg',
        seg_map_suffix='.png',
    )
    WrappedFewShotDataset(source=source, novel_classes=['cat'], phase='val', candidate_area=1)
    assert any('5 images *.jpg used; not used: 1' in message and '1.JPG' in message for message in logged)
