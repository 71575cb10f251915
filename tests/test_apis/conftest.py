# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import api_toys as toys
import pytest

from mmfss.apis import FewShotInferencer


@pytest.fixture(scope='session')
def weights(tmp_path_factory):
    """Folder of the tiny models' checkpoints, one for each type of segmentor."""
    folder = tmp_path_factory.mktemp('weights')
    for segmentor in ('BaseLearnerEnsemble', 'FewShotSegmentor'):
        toys.write_checkpoint(toys.tiny_config(segmentor), folder / f'{segmentor}.pth')
    return folder


@pytest.fixture(scope='session')
def inferencer(weights):
    """A tiny model with a base learner."""
    return FewShotInferencer(toys.tiny_config(), weights / 'BaseLearnerEnsemble.pth', 'cpu', show_progress=False)


@pytest.fixture(scope='session')
def gear(inferencer):
    """A class of two supports."""
    return inferencer.register('gear', [toys.photo(0), toys.photo(1)], [toys.disc(), dict(box=(20, 10, 60, 50))])


@pytest.fixture(scope='session')
def wheel(inferencer):
    """A class of one support."""
    return inferencer.register('wheel', toys.photo(2), toys.disc(radius=25))
