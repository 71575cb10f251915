# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Maps on disk come back as they were, whatever was interrupted; features are flattened and made again."""

import errno
import os

import pytest
import torch

from mmfss.structures import BackboneFeatures, FeatureFile, MapPlan
from mmfss.structures.feature_file import DONE, PENDING, lay_out, row_bytes


def maps(N=4):
    return {
        'layer2': torch.randn(N, 3, 5, 4).contiguous(memory_format=torch.channels_last),
        'layer3.0': torch.randn(N, 7, 3, 2).bfloat16(),
        'labels': torch.randint(0, 256, (N, 1, 9, 9)),
        'scale': torch.arange(N),
    }


def test_rows_come_back_in_any_order(tmp_path):
    given = maps()
    fields = lay_out(given, dict(labels='uint8'))
    file = FeatureFile.create(tmp_path / 'store', 6, fields, dict(views=2))
    file.write([4, 0, 5, 2], given)
    assert file.marks.tolist() == [DONE, PENDING, DONE, PENDING, DONE, DONE]
    again = FeatureFile(tmp_path / 'store')  # another process
    assert again.facts == dict(views=2) and again.rows == 6
    found = again.read([2, 4, 4], list(given))
    for name, tensor in given.items():
        assert torch.equal(found[name], tensor[[3, 0, 0]]) and found[name].dtype == tensor.dtype
    assert found['layer2'].is_contiguous(memory_format=torch.channels_last)
    assert all(field.offset % 64 == 0 for field in fields.values())
    assert os.path.getsize(tmp_path / 'store/features.bin') == 6 * row_bytes(fields)


def test_bfloat16_on_disk_gives_the_nearest_numbers(tmp_path):
    given = maps()
    file = FeatureFile.create(tmp_path, 4, lay_out(given, dict(layer2='bfloat16', labels='uint8')), {})
    file.write(range(4), given)
    found = file.read(range(4), ['layer2'])['layer2']
    assert found.dtype == torch.float32 and torch.equal(found, given['layer2'].bfloat16().float())


def test_a_full_disk_is_an_error_and_leaves_the_row_unmarked(tmp_path, monkeypatch):
    given = maps()
    file = FeatureFile.create(tmp_path, 4, lay_out(given, {}), {})

    def full(*args):
        raise OSError(errno.ENOSPC, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(os, 'pwrite', full)
        with pytest.raises(OSError, match=r'could not write it .*start again: what is stored already is kept'):
            file.write(range(4), given)
    assert file.marks.tolist() == [PENDING] * 4


def test_files_that_do_not_fit_are_refused(tmp_path):
    FeatureFile.create(tmp_path, 4, lay_out(maps(), {}), {})
    os.truncate(tmp_path / 'features.bin', 100)
    with pytest.raises(ValueError, match=r'features\.bin should have \d+ bytes: remove'):
        FeatureFile(tmp_path)


def features(N=2, how=torch.relu):
    blocks = tuple(torch.randn(N, 4, 3, 3) for _ in range(3))
    return BackboneFeatures(
        dict(layer2=torch.randn(N, 2, 6, 6), layer3=how(blocks[-1]), masked_layer4=torch.randn(N, 5, 3, 3)),
        dict(layer3=blocks),
        neck=torch.randn(N, 2, 3, 3),
        extras=dict(tokens=torch.randn(N, 8)),
        sizes=dict(layer1=(6, 6), layer2=(6, 6), layer3=(3, 3)),
    )


@pytest.mark.parametrize('how', [torch.relu, torch.clone])
def test_features_are_made_again_and_a_last_block_is_kept_once(how):
    given = features(how=how)
    plan = MapPlan(**MapPlan.of(given, (24, 25)).state())
    flat = plan.maps(given)
    assert set(flat) == {'layer3.0', 'layer3.1', 'layer3.2', 'layer2', 'masked_layer4', 'neck', 'extra.tokens'}
    stages = ('layer2', 'layer3')
    found = plan.features({name: flat[name] for name in plan.names(stages)}, stages)
    assert set(found.stages) == set(stages) and found.image_size == (24, 25) and found.sizes == given.sizes
    assert torch.equal(found['layer3'], given['layer3']) and torch.equal(found.neck, given.neck)
    assert torch.equal(found.extras['tokens'], given.extras['tokens'])
    assert all(map(torch.equal, found.blocks['layer3'], given.blocks['layer3']))


def test_a_stage_that_stops_following_its_block_is_noticed():
    plan = MapPlan.of(features(how=torch.relu), (24, 24))
    with pytest.raises(ValueError, match='layer3 is not what it was'):
        plan.maps(features(how=torch.sigmoid))


def test_blocks_of_layer1_come_with_it_alone():
    given = features()
    given.stages['layer1'], given.blocks['layer1'] = torch.rand(2, 3, 6, 6), (torch.rand(2, 3, 6, 6),)
    plan = MapPlan.of(given, (24, 24))
    flat = plan.maps(given)
    assert 'layer1.0' not in plan.names(['layer3']) and list(plan.features(flat, ['layer3']).blocks) == ['layer3']
    assert torch.equal(plan.features(flat, ['layer1']).blocks['layer1'][0], given.blocks['layer1'][0])
