# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""refine='repri': a classifier fitted to every image, on the features of any model."""

import api_toys as toys
import numpy as np
import pytest

from mmfss.apis import FewShotInferencer
from mmfss.models import FewShotSegmentor


@pytest.mark.parametrize('segmentor', ['BaseLearnerEnsemble', 'FewShotSegmentor'])
def test_the_fit_takes_the_place_of_the_methods_head(segmentor, weights):
    plain = FewShotInferencer(toys.tiny_config(segmentor), weights / f'{segmentor}.pth', 'cpu', show_progress=False)
    refined = FewShotInferencer(model=plain.model, show_progress=False, refine='repri')
    assert type(plain.model).__name__ == segmentor and type(refined.model) is FewShotSegmentor
    assert refined.model.backbone is plain.model.backbone and refined.model.decode_head is not plain.model.decode_head
    image, mask = toys.photo(3), toys.disc()
    classes = [inferencer.register('gear', [image] * 2, [mask] * 2) for inferencer in (plain, refined)]
    (before,), (after,) = plain(image, classes[0]), refined(image, classes[1])
    for inferencer, other in ((plain, classes[1]), (refined, classes[0])):
        with pytest.raises(ValueError, match='made by another model'):
            inferencer.check(other)
    contrast = [result.scores[0][mask].mean() - result.scores[0][~mask].mean() for result in (before, after)]
    assert contrast[1] > max(contrast[0], 0), 'the object of the support itself'
    assert after.presence[0] > 0
    assert np.array_equal(plain(image, classes[0])[0].scores, before.scores), 'the model is as it was'
    extended = refined.extend(classes[1], toys.photo(4), mask)
    several = refined([image, toys.photo(5)], [classes[1], extended.__class__('wheel', extended.bank, extended.key)])
    assert [result.scores.shape for result in several] == [(2, 60, 80)] * 2
    difference = np.abs(several[0].scores[0].astype(float) - after.scores[0])
    assert difference.max() < 1e-3, 'whatever the batch and the other classes; scores have half precision'


def test_an_unknown_refinement_is_refused(weights):
    with pytest.raises(ValueError, match="refine='magic': choose 'repri'"):
        FewShotInferencer(toys.tiny_config(), weights / 'BaseLearnerEnsemble.pth', 'cpu', refine='magic')
