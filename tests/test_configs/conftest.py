# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import pytest
from helpers import write_class_folders
from shipped import write_images


@pytest.fixture(scope='session')
def roots(tmp_path_factory) -> dict:
    """Data roots of a VOC and a COCO layout with some classes of either side of fold 0."""
    voc, coco = tmp_path_factory.mktemp('voc'), tmp_path_factory.mktemp('coco')
    lists = voc / 'ImageSets/Segmentation'
    lists.mkdir(parents=True)
    every = []
    for split, classes in (('train', (6, 7)), ('val', (1, 2))):
        names = write_images(voc / 'JPEGImages', voc / 'SegmentationClassAug', classes)
        every += names
        for name in (split, 'train_5953') if split == 'train' else (split,):  # the lite configs read train.txt
            (lists / f'{name}.txt').write_text('\n'.join(names) + '\n')
    (lists / 'trainaug.txt').write_text('\n'.join(every) + '\n')  # of both, as PANet has it
    for phase, classes in (('train', (2, 3, 22, 23)), ('val', (1, 5))):
        for split in (f'{phase}2014', f'{phase}2017'):
            write_images(coco / split, coco / 'annotations' / split, classes)
    folder = write_class_folders(tmp_path_factory.mktemp('folder') / 'mine', ('red', 'green'), images=11)
    return dict(pascal=voc, coco=coco, folder=folder)


@pytest.fixture
def data(monkeypatch, roots, tmp_path):
    """Point the configs of one data set to its small data."""

    def use(name: str) -> None:
        root = roots['coco' if 'coco' in name and 'pascal' not in name else 'pascal']
        variables = dict(FOLD='0', MMFSS_DATA_ROOT=root, MMFSS_CANDIDATE_AREA='100', MMFSS_WORK_ROOT=tmp_path)
        variables['MMFSS_FOLDER'] = roots['folder']  # of one's own, beside the data set of the training
        for variable, value in variables.items():
            monkeypatch.setenv(variable, str(value))

    return use
