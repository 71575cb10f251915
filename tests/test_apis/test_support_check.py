# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What the supports of a class promise, before any photo is segmented."""

from pathlib import Path

import api_toys as toys
import numpy as np
import pytest
from PIL import Image

from mmfss.apis import FewShotInferencer, SupportCheck, check_supports, preset


@pytest.fixture
def inferencer(tmp_path, weights):
    toys.floor_config(weights).dump(tmp_path / 'floor.py')
    return FewShotInferencer(tmp_path / 'floor.py', device='cpu', show_progress=False)


def test_each_support_is_segmented_by_the_others(inferencer):
    images = [toys.photo(i, 50, 60) for i in range(3)]
    masks = [toys.disc(50, 60, 12 + 3 * i) for i in range(3)]
    check = check_supports(inferencer, 'disc', images, masks)
    for k in range(3):
        others = [i for i in range(3) if i != k]
        rest = inferencer.register('disc', [images[i] for i in others], [masks[i] for i in others])
        found = inferencer(images[k], rest)[0].mask == 1
        truth = np.asarray(masks[k]).astype(bool)
        assert check.ious[k] == pytest.approx((found & truth).sum() / max((found | truth).sum(), 1))
    assert check.mean == pytest.approx(np.mean(check.ious))


def test_one_support_cannot_be_checked(inferencer):
    with pytest.raises(ValueError, match="class 'disc': 1 support images and 1 masks; a check needs two"):
        check_supports(inferencer, 'disc', [toys.photo(0, 50, 60)], [toys.disc(50, 60, 12)])


def test_what_is_said():
    good = str(SupportCheck('gear', (0.8, 0.92)))
    assert good == "class 'gear': expect an IoU of about 0.9 on images like these (supports: 0.80, 0.92)"
    odd = SupportCheck('gear', (0.8, 0.9, 0.1))
    assert odd.odd == (3,) and 'support 3 disagrees with the others' in str(odd)
    low = str(SupportCheck('gear', (0.2, 0.3)))
    assert 'take more supports' in low and 'fine-tune' in low


def test_the_model_that_comes_along_needs_its_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(preset, 'CHECKPOINT', tmp_path / 'gone.pth')
    with pytest.raises(FileNotFoundError, match='gone.pth is missing: this copy of mmfss comes without the weights'):
        FewShotInferencer()
    with pytest.raises(TypeError, match='give a config'):
        FewShotInferencer(checkpoint='some.pth')


def test_the_model_that_comes_along_segments_real_photos():
    """Coins: what two of six photos show is found in another one."""
    pytest.importorskip('timm')
    inferencer = FewShotInferencer(device='cpu', show_progress=False)
    folder = Path(__file__).parents[2] / 'demo/photos/coins'
    names = [str(folder / f'{k}.jpg') for k in (1, 2)], [str(folder / f'{k}.png') for k in (1, 2)]
    assert check_supports(inferencer, 'coin', *names).mean > 0.7
    coin = inferencer.register('coin', names[0][0], names[1][0])
    found = inferencer(names[0][1], coin)[0].mask == 1
    with Image.open(names[1][1]) as mask:
        truth = np.array(mask) > 127
    assert (found & truth).sum() / (found | truth).sum() > 0.7
