# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""FewShotInferencer: the same masks as an evaluation, from whatever users have."""

import api_toys as toys
import numpy as np
import pytest
import torch
from helpers import RESIZE, pascal
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from PIL import Image

from mmfss.apis import FewShotInferencer, RegisteredClass, SegmentationResult, mask_from_scores
from mmfss.apis.results import to_half
from mmfss.registry import DATASETS, MODELS
from mmfss.structures import SupportBank


def squashed() -> dict:
    """Test pipelines of another geometry."""
    return {
        name: [dict(type='SquashResize', size=40) if step == RESIZE else step for step in pipeline]
        for name, pipeline in toys.TEST_PIPELINES.items()
    }


@pytest.mark.parametrize('segmentor', ['BaseLearnerEnsemble', 'FewShotSegmentor'])
@pytest.mark.parametrize('shots', [1, 3])
@pytest.mark.parametrize('pipelines', [toys.TEST_PIPELINES, squashed()], ids=['long-side', 'squash'])
def test_masks_are_those_of_an_evaluation(segmentor, shots, pipelines, weights, voc):
    cfg = toys.tiny_config(segmentor, pipelines)
    inferencer = FewShotInferencer(cfg, weights / f'{segmentor}.pth', 'cpu', show_progress=False)
    with DefaultScope.overwrite_default_scope('mmfss'):
        dataset = DATASETS.build(
            dict(
                type='EpisodicDataset',
                dataset=pascal(voc),
                shots=shots,
                **pipelines,
                protocol=dict(type='BalancedProtocol', runs=1, episodes=6, seed=0, min_images=shots + 1),
            )
        )
    seen = set()
    for i in range(len(dataset)):
        item = dataset[i]
        with torch.no_grad():
            expected = inferencer.model.test_step(pseudo_collate([item]))[0].pred_sem_seg.data[0].numpy()
        supports, query = item['data_samples']['support'], item['data_samples']['query']
        found = inferencer.register(
            'it', [s.img_path for s in supports], [dict(mask=s.seg_map_path, value=query.class_id) for s in supports]
        )
        (result,) = inferencer(query.img_path, found)
        assert result.mask.shape == expected.shape == query.ori_shape
        assert np.array_equal(result.mask, expected)
        seen.update(np.unique(expected).tolist())
    assert seen == {0, 1}


def test_paths_arrays_and_pil_images_are_one(inferencer, gear, tmp_path):
    image, mask = toys.photo(3), toys.disc()
    path = toys.save(image, tmp_path / 'a.png')
    results = inferencer(
        [path, str(path), image, Image.fromarray(image), Image.open(path).convert('RGBA')], gear, batch_size=1
    )
    assert all(np.array_equal(r.scores, results[0].scores) for r in results)
    assert all(np.array_equal(r.image, image) for r in results)
    mask_path = toys.save(mask.astype(np.uint8) * 255, tmp_path / 'a_mask.png')
    masks = [mask, mask.astype(np.uint8), mask_path, str(mask_path), Image.open(mask_path), Image.fromarray(mask)]
    assert len({inferencer.register('x', image, m).key for m in masks}) == 1
    a, b = (inferencer.register('x', i, mask).bank.tensors for i in (image, path))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_rotation_of_cameras_is_undone(inferencer, gear, tmp_path):
    image = toys.photo(3)
    exif = Image.Exif()
    exif[0x112] = 6  # turn by 90 degrees to the right
    path = tmp_path / 'turned.png'
    Image.fromarray(image).save(path, exif=exif)
    upright = np.ascontiguousarray(np.rot90(image, -1))
    for result in inferencer([path, Image.open(path)], gear):
        assert np.array_equal(result.image, upright)


def test_batches_give_what_single_images_give(inferencer, gear, wheel, tmp_path):
    folder = toys.photos(tmp_path / 'in', 5)
    alone = inferencer(folder, [gear, wheel], batch_size=1)
    together = inferencer(folder, [gear, wheel], batch_size=4)
    assert [r.name for r in alone] == [r.name for r in together] == list('01234')
    for a, b in zip(alone, together, strict=True):
        assert np.abs(a.scores.astype(float) - b.scores).max() < 2e-3


def test_images_whose_network_sizes_differ(weights, tmp_path):
    """A geometry without a common size: batches are split, nothing is refused."""
    pipelines = {name: [step for step in pipeline if step != RESIZE] for name, pipeline in toys.TEST_PIPELINES.items()}
    inferencer = FewShotInferencer(
        toys.tiny_config(pipelines=pipelines), weights / 'BaseLearnerEnsemble.pth', 'cpu', show_progress=False
    )
    registered = inferencer.register('gear', [toys.photo(0)], [toys.disc()])
    results = inferencer(toys.photos(tmp_path / 'in', 4), registered)
    assert [r.mask.shape for r in results] == [(50 + 7 * i, 70) for i in range(4)]


def test_several_classes(inferencer, gear, wheel):
    (both,), (first,), (second,) = (inferencer(toys.photo(3), banks) for banks in ([gear, wheel], gear, [wheel]))
    assert both.class_names == ('gear', 'wheel')
    assert both.scores.shape == (2, 60, 80) and both.scores.dtype == np.float16
    assert np.array_equal(both.scores, np.concatenate([first.scores, second.scores]))
    winner = both.scores.argmax(0) + 1
    assert np.array_equal(both.mask, np.where(both.scores.max(0) >= 0.5, winner, 0))
    strict = inferencer(toys.photo(3), [gear, wheel], threshold=0.9)[0]
    assert np.array_equal(strict.mask, mask_from_scores(both.scores, 0.9))
    assert (strict.mask > 0).sum() < (both.mask > 0).sum()


def test_result_and_overlay(inferencer, gear, tmp_path):
    path = toys.save(toys.photo(3), tmp_path / 'photo.png')
    (result,) = inferencer(path, gear)
    assert isinstance(result, SegmentationResult) and (result.name, result.source) == ('photo', str(path))
    assert result.mask.dtype == np.uint8 and set(np.unique(result.mask)) == {0, 1}
    overlay = result.overlay()
    assert overlay.shape == (60, 80, 3) and overlay.dtype == np.uint8
    untouched = (overlay == result.image).all(-1)
    inside = result.mask == 1
    assert not untouched[inside].any() and untouched[~inside].any()


# --- banks ---


def test_a_saved_class_is_the_same(inferencer, gear, tmp_path):
    gear.save(tmp_path / 'gear.pth')
    found = RegisteredClass.load(tmp_path / 'gear.pth')
    assert (found.name, found.num_shots, found.nbytes, found.key) == ('gear', 2, gear.nbytes, gear.key)
    assert found.bank.fingerprint == inferencer.fingerprint
    assert np.array_equal(inferencer(toys.photo(3), found)[0].scores, inferencer(toys.photo(3), gear)[0].scores)
    gear.bank.save(tmp_path / 'plain.pth')
    assert RegisteredClass.load(tmp_path / 'plain.pth').name == 'plain'


def test_extended_is_registered_at_once(inferencer, gear):
    one = inferencer.register('gear', toys.photo(0), toys.disc())
    two = inferencer.extend(one, toys.photo(1), dict(box=(20, 10, 60, 50)))
    assert (one.num_shots, two.num_shots, two.name) == (1, 2, 'gear') and two.key != one.key
    assert np.array_equal(inferencer(toys.photo(3), two)[0].scores, inferencer(toys.photo(3), gear)[0].scores)


def test_supports_of_different_sizes(inferencer):
    images, masks = [toys.photo(0), toys.photo(1, 90, 40)], [toys.disc(), toys.disc(90, 40)]
    assert inferencer.register('gear', images, masks).num_shots == 2


def test_a_bank_of_another_model_is_refused(inferencer, gear, weights, tmp_path):
    cfg = toys.tiny_config()
    other = FewShotInferencer(cfg, toys.write_checkpoint(cfg, tmp_path / 'w.pth', 'other'), 'cpu')
    for use in (lambda: other(toys.photo(3), gear), lambda: other.extend(gear, toys.photo(0), toys.disc())):
        with pytest.raises(ValueError, match=f'another model.*{inferencer.fingerprint}.*{other.fingerprint}'):
            use()
    unknown = RegisteredClass('gear', SupportBank(gear.bank.tensors))
    with pytest.raises(ValueError, match='not recorded'):
        inferencer(toys.photo(3), unknown)
    with pytest.raises(TypeError, match='got a SupportBank; `register` makes one'):
        inferencer(toys.photo(3), gear.bank)


def test_fingerprint_follows_weights_and_computation_only(inferencer, weights):
    def made(**changes):
        cfg = toys.tiny_config()
        cfg.model.update(changes)
        return FewShotInferencer(cfg, weights / 'BaseLearnerEnsemble.pth', 'cpu').fingerprint

    unchanged = made(feature_cache_gb=1, base_checkpoint='elsewhere.pth', log_base_loss=True)
    assert made() == unchanged == inferencer.fingerprint
    head = dict(toys.tiny_config().model.decode_head, dilations=(1, 2, 4))
    assert made(decode_head=head) != inferencer.fingerprint


def test_training_and_evaluation_compute_no_fingerprint():
    with DefaultScope.overwrite_default_scope('mmfss'):
        assert MODELS.build(toys.tiny_config().model).fingerprint == ''


# --- scores to masks ---


def test_half_precision_never_crosses_one_half():
    probability = torch.tensor([0.5, 0.49999997, 0.4999, 0.50000006, 0.0, 1.0])
    assert ((to_half(probability) >= 0.5) == (probability >= 0.5).numpy()).all()


# --- refusals ---


def test_refused_arguments(inferencer, gear, wheel):
    image = toys.photo(3)
    for message, call in {
        '1 support images and 2 masks': lambda: inferencer.register('x', image, [toys.disc()] * 2),
        'the name of a class is a text': lambda: inferencer.register('', image, toys.disc()),
        'a name of its own': lambda: inferencer(image, [gear, gear]),
        'at least one class': lambda: inferencer(image, []),
        'is a probability': lambda: inferencer(image, gear, threshold=50),
        'must be a whole number': lambda: inferencer(image, gear, batch_size=0),
        'needs the `out_dir`': lambda: inferencer(image, gear, skip_existing=True),
        'the list is empty': lambda: inferencer([], gear),
        'uint8 RGB': lambda: inferencer(image[None], gear),
    }.items():
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match='cannot segment a int'):
        inferencer(3, gear)


def test_no_display(inferencer, gear, monkeypatch):
    monkeypatch.setattr('sys.platform', 'linux')
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match='needs a display'):
        inferencer.stream(toys.photo(3), gear, show=True)


def test_show_opens_one_window_an_image(inferencer, gear, monkeypatch):
    shown = []
    monkeypatch.setenv('DISPLAY', ':99')
    monkeypatch.setattr(
        'mmengine.visualization.Visualizer.show', lambda self, image, win_name: shown.append((win_name, image.shape))
    )
    inferencer([toys.photo(3), toys.photo(4)], gear, show=True)
    assert shown == [('image_000000', (60, 80, 3)), ('image_000001', (60, 80, 3))]


def test_checkpoints_that_do_not_fit(weights):
    with pytest.raises(FileNotFoundError, match='no checkpoint nowhere.pth'):
        FewShotInferencer(toys.tiny_config(), 'nowhere.pth')
    with pytest.raises(ValueError, match='does not fit the model'):
        FewShotInferencer(toys.tiny_config(), weights / 'FewShotSegmentor.pth')


def test_devices_that_are_not_there(weights):
    for device in ('cuda:77', 'gpu'):
        with pytest.raises(ValueError, match=f"device '{device}' cannot be used.*or say 'cpu'"):
            FewShotInferencer(toys.tiny_config(), weights / 'BaseLearnerEnsemble.pth', device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_gpu_gives_what_the_cpu_gives(weights, gear):
    inferencer = FewShotInferencer(toys.tiny_config(), weights / 'BaseLearnerEnsemble.pth', 'cuda', show_progress=False)
    (expected,), (found,) = (
        i(toys.photo(3), gear)
        for i in (FewShotInferencer(toys.tiny_config(), weights / 'BaseLearnerEnsemble.pth', 'cpu'), inferencer)
    )
    assert np.abs(found.scores.astype(float) - expected.scores).max() < 1e-2
    assert inferencer.register('x', toys.photo(0), toys.disc()).bank['meta.gram'].is_cuda


# --- configs ---


def test_configs_without_episodes(weights):
    cfg = toys.tiny_config()
    cfg.test_dataloader.dataset.query_pipeline = []
    with pytest.raises(ValueError, match='query_pipeline must begin with LoadFewShotImage'):
        FewShotInferencer(cfg, weights / 'BaseLearnerEnsemble.pth')


def test_precision(weights, inferencer, gear, monkeypatch):
    monkeypatch.setattr('mmfss.utils.precision.fast_bfloat16', lambda device: True)
    checkpoint = weights / 'BaseLearnerEnsemble.pth'
    half = FewShotInferencer(toys.tiny_config(), checkpoint, 'cpu', show_progress=False, precision='bfloat16')
    assert half.model.precision == 'bfloat16' and half.fingerprint == inferencer.fingerprint
    own = half.register('gear', [toys.photo(0), toys.photo(1)], [toys.disc(), dict(box=(20, 10, 60, 50))])
    assert own.nbytes < 0.55 * gear.nbytes
    (expected,) = inferencer(toys.photo(5), gear)
    for bank in (own, gear, half.extend(gear, toys.photo(1), dict(box=(20, 10, 60, 50)))):
        (found,) = half(toys.photo(5), bank)
        assert (found.mask == expected.mask).mean() > 0.9
    (exact,) = inferencer(toys.photo(5), own)  # a bank in bfloat16 in a model that computes in float32
    assert (exact.mask == expected.mask).mean() > 0.9
    with pytest.raises(ValueError, match='choose from float32'):
        FewShotInferencer(toys.tiny_config(), checkpoint, 'cpu', precision='half')
