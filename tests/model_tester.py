# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What every few-shot method must do. A new head's test is a subclass that names its configs::

    class TestMyHead(ModelTester):
        head = dict(type='MyHead', channels=16)

(layout after segmentation_models.pytorch's tests/models/base.py)
"""

import io

import pytest
import torch
import toys
from torch import Tensor, nn

from mmfss.conversion.parity import undropped
from mmfss.models.layers import resize
from mmfss.structures import SupportBank


class ModelTester:
    """Tests of a method on small random episodes.

    Attributes:
        segmentor (str): 'FewShotSegmentor' or 'BaseLearnerEnsemble'.
        head (dict): config of the meta head.
        backbone (dict): config of the backbone.
        base_head (dict): config of the base learner's head, for BaseLearnerEnsemble.
        size (tuple[int, int]): height and width of the images.
        shots (int): K of the tests that need one only.
        learned (bool): whether the method has weights to train.
        freeze_backbone (bool): whether the backbone stays as it is.
        ignores_void (bool): whether 255 in a support counts as background does: true of methods that read nothing but
            the foreground, false of those that read the background or the void too.
        half_tolerance (float): error of the scores under autocast, relative to their size.
        batch_tolerance (float): how far an episode's scores may depend on its batch.
    """

    segmentor = 'FewShotSegmentor'
    head: dict
    backbone = toys.RESNET
    base_head = toys.BASE_HEAD
    size = (41, 41)
    shots = 1
    learned = True
    freeze_backbone = True
    ignores_void = True
    half_tolerance = 1e-2
    batch_tolerance = 1e-5

    # --- helpers ---

    def config(self) -> dict:
        config = dict(type=self.segmentor, backbone=dict(self.backbone), decode_head=dict(self.head))
        if not self.freeze_backbone:
            config['freeze_backbone'] = False
        if self.segmentor == 'BaseLearnerEnsemble':
            config['base_head'] = dict(self.base_head)
        return config

    def outputs(self) -> dict[str, int]:
        """Name -> channels of every output."""
        if self.segmentor == 'FewShotSegmentor':
            return dict(final=2)
        return dict(final=2, meta=2, base=1 + toys.NUM_BASE)

    @pytest.fixture
    def model(self) -> nn.Module:
        return toys.build(self.config())

    @staticmethod
    @torch.no_grad()
    def run(model: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return model(inputs, mode='tensor')

    @staticmethod
    def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-5):
        assert found.keys() == expected.keys()
        for name, reference in expected.items():
            scale = reference.abs().max().clamp(min=1)
            error = ((found[name].float() - reference).abs().max() / scale).item()
            assert error <= tolerance, f'{name} deviates by {error:.1e}'

    def assert_sound(self, scores: dict[str, Tensor], B: int, size: tuple[int, int]):
        assert {name: tuple(score.shape) for name, score in scores.items()} == {
            name: (B, channels, *size) for name, channels in self.outputs().items()
        }
        assert all(score.isfinite().all() for score in scores.values())

    # --- modes ---

    @pytest.mark.parametrize('K', [1, 3, 5])
    def test_tensor_mode(self, model, K):
        self.assert_sound(self.run(model, toys.episodes(2, K, self.size)), 2, self.size)

    def test_predict_mode(self, model):
        queries = toys.samples(2, self.size)
        with torch.no_grad():
            predictions = model(toys.episodes(2, self.shots, self.size), queries, mode='predict')
        assert all(mine is given for mine, given in zip(predictions, queries, strict=True))
        for sample in predictions:
            fields = ['pred_sem_seg', *(f'pred_{name}_seg' for name in self.outputs() if name != 'final')]
            assert all(sample.get(field).data.shape == (1, *self.size) for field in fields)
            assert sample.seg_logits.data.shape == (2, *self.size)
            assert sample.seg_logits.data.argmax(0, keepdim=True).equal(sample.pred_sem_seg.data)

    def test_loss_mode_trains_what_is_learned(self, model):
        torch.manual_seed(0)
        model.train()
        losses = model(toys.episodes(4, self.shots, self.size), toys.samples(4, self.size), mode='loss')
        total, logged = model.parse_losses(losses)
        assert total.isfinite() and all(name.startswith('loss') for name in losses)
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        assert bool(trained) == self.learned
        frozen = [model.backbone] if self.freeze_backbone else []
        frozen += [model.base_head] if hasattr(model, 'base_head') else []
        for part in frozen:
            assert not any(p.requires_grad for p in part.parameters())
            assert not any(module.training for module in part.modules())
        if self.learned:
            total.backward()
            without = [name for name, p in trained.items() if p.grad is None or not p.grad.abs().sum() > 0]
            assert not without, f'no gradient reaches {without}'
            assert all(p.grad.isfinite().all() for p in trained.values())

    # --- episodes ---

    @torch.no_grad()
    def test_batch_independence(self, model):
        inputs = toys.episodes(4, self.shots, self.size)
        inputs['support_mask'][1] = 0  # nothing of the class
        inputs['support_mask'][2] = 1  # nothing but the class
        bank = model.encode_support(inputs['support'], inputs['support_mask'], inputs['episode_seed'])
        scores = model.segment_images(inputs['query'], [bank], inputs['query_padding'], inputs['episode_seed'])[0]
        joint = {name: resize(score, self.size) for name, score in scores.items()}
        alone = [self.run(model, toys.pick(inputs, i)) for i in range(4)]
        self.assert_close(
            joint, {name: torch.cat([one[name] for one in alone]) for name in joint}, self.batch_tolerance
        )

    @pytest.mark.parametrize('label', [0, 1, 255], ids=['empty', 'full', 'ignored'])
    @pytest.mark.parametrize('K', [1, 3])
    def test_extreme_masks(self, model, label, K):
        inputs = toys.episodes(2, K, self.size)
        inputs['support_mask'][:, -1] = label
        scores = self.run(model, inputs)
        self.assert_sound(scores, 2, self.size)

    def test_void_pixels_are_no_foreground(self, model):
        inputs = toys.episodes(2, 3, self.size)
        without = self.run(model, dict(inputs, support_mask=inputs['support_mask'] % 255))
        if self.ignores_void:
            self.assert_close(self.run(model, inputs), without)
        else:
            self.assert_sound(without, 2, self.size)
        as_foreground = torch.where(inputs['support_mask'] == 255, 1, inputs['support_mask'])
        changed = self.run(model, dict(inputs, support_mask=as_foreground))
        assert (changed['final'] - without['final']).abs().max() > 1e-4

    @pytest.mark.parametrize('size', [(33, 48), (57, 39), (40, 41)])
    def test_sizes(self, model, size):
        self.assert_sound(self.run(model, toys.episodes(1, self.shots, size)), 1, size)

    def test_supports_of_another_size(self, model):
        inputs = toys.episodes(2, self.shots, self.size)
        other = toys.episodes(2, self.shots, (56, 40))
        inputs.update(support=other['support'], support_mask=other['support_mask'])
        self.assert_sound(self.run(model, inputs), 2, self.size)

    # --- values that are kept ---

    def test_weights_round_trip(self, model):
        file = io.BytesIO()
        torch.save(model.state_dict(), file)
        file.seek(0)
        torch.manual_seed(1)
        other = toys.MODELS.build(self.config()).eval()
        other.load_state_dict(torch.load(file, weights_only=True), strict=True)
        inputs = toys.episodes(1, self.shots, self.size)
        self.assert_close(self.run(other, inputs), self.run(model, inputs), 0)

    @pytest.mark.parametrize('K', [1, 3, 5])
    @torch.no_grad()
    def test_support_bank(self, model, K, tmp_path):
        inputs = toys.episodes(2, K, self.size)
        inputs['support_mask'][0, 1:2] = 0
        joint, support, mask = self.run(model, inputs), inputs['support'], inputs['support_mask']

        def segment(bank: SupportBank, query: Tensor = inputs['query']) -> dict[str, Tensor]:
            padded = inputs['query_padding'] if query is inputs['query'] else None
            scores = model.segment(model.extract_feat(query, padded), bank)
            return {name: resize(score, self.size) for name, score in scores.items()}

        bank = model.encode_support(support, mask)
        assert (bank.batch_size, bank.num_shots, bank.fingerprint) == (2, K, '')
        self.assert_close(segment(bank), joint, self.batch_tolerance)
        finished = model.finish(bank)
        assert finished.finished and model.finish(finished) is finished
        self.assert_close(segment(finished), joint, self.batch_tolerance)
        singles = [model.encode_support(support[:, k : k + 1], mask[:, k : k + 1]) for k in range(K)]
        grown = singles[0]
        for single in singles[1:]:
            grown = grown.extend(single)
        assert grown.num_shots == K
        for stacked in (grown, SupportBank.stack_shots(singles)):
            self.assert_close(segment(stacked), joint, self.batch_tolerance)
        bank.save(tmp_path / 'bank.pth')
        loaded = SupportBank.load(tmp_path / 'bank.pth')
        assert all(torch.equal(loaded[name], tensor) for name, tensor in bank.tensors.items())
        assert {name: tuple(dims) for name, dims in loaded.open_dims.items()} == bank.open_dims
        self.assert_close(segment(loaded), joint, self.batch_tolerance)
        # One episode's bank for many queries.
        single = model.encode_support(support[:1], mask[:1])
        queries = toys.episodes(3, 1, self.size, seed=5)['query']
        alone = [segment(single, query[None]) for query in queries]
        expected = {name: torch.cat([one[name] for one in alone]) for name in joint}
        self.assert_close(segment(single, queries), expected, self.batch_tolerance)

    @torch.no_grad()
    def test_evaluation_keeps_what_comes_again(self, model):
        """The same scores to the bit with a store and without, whatever it has seen; pairs are compared once."""
        inputs = toys.episodes(3, 3, self.size)
        inputs['support'][1], inputs['support_mask'][1] = inputs['support'][0], inputs['support_mask'][0].flip(0)
        inputs['support'][2] = inputs['support'][0].flip(0)  # in another order, their masks too
        inputs['support_mask'][2] = inputs['support_mask'][0].flip(0)
        inputs['query'][2], inputs['query_padding'][2] = inputs['query'][0], inputs['query_padding'][0]
        kept, model.feature_cache = model.feature_cache, None
        expected = self.run(model, inputs)
        model.feature_cache = kept
        for _ in range(2):
            for name, scores in self.run(model, inputs).items():
                assert torch.equal(scores, expected[name]), name
        assert (kept.misses['query'], kept.hits['query']) == (2, 4)
        # A mask of its own makes a support of its own: the middle one of the second episode has the one it had.
        assert (kept.misses['support'], kept.hits['support']) == (5, 13)
        assert (kept.misses['comparison'], kept.hits['comparison']) == (
            (6, 12) if model.decode_head.compares else (0, 0)
        )
        bank = model.encode_support(inputs['support'], inputs['support_mask']).part('meta')
        assert set(model.decode_head.compared_tensors()) <= set(bank.tensors)

    @torch.no_grad()
    def test_supports_of_different_lengths_join(self, model):
        """What a head says of its tensors' sizes (`open_dims`) is enough to join shots of any foreground."""
        inputs = toys.episodes(1, 2, self.size)
        inputs['support_mask'][:, 0, :4], inputs['support_mask'][:, 0, 4:] = 1, 0
        joint = self.run(model, inputs)
        one, two = (
            model.encode_support(inputs['support'][:, k : k + 1], inputs['support_mask'][:, k : k + 1]) for k in (0, 1)
        )
        scores = model.segment(model.extract_feat(inputs['query'], inputs['query_padding']), one.extend(two))
        self.assert_close({name: resize(score, self.size) for name, score in scores.items()}, joint)

    # --- number formats ---

    @pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
    def test_autocast(self, model, dtype):
        inputs = toys.episodes(2, self.shots, self.size)
        expected = self.run(model, inputs)
        with torch.autocast('cpu', getattr(torch, dtype)):
            scores = self.run(model, inputs)
        self.assert_sound(scores, 2, self.size)
        for name, reference in expected.items():
            error = ((scores[name] - reference).norm() / reference.norm()).item()
            assert error <= self.half_tolerance, f'{name} deviates by {error:.1e} of its size'
        if dtype == 'float16':  # bfloat16's eight bits, layer after layer, allow no such bound on single pixels
            self.assert_close(scores, expected, self.half_tolerance)

    @pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
    def test_loss_under_autocast(self, model, dtype):
        undropped(model).train()
        inputs, queries = toys.episodes(2, self.shots, self.size), toys.samples(2, self.size)
        expected = model(inputs, queries, mode='loss')
        with torch.autocast('cpu', getattr(torch, dtype)):
            losses = model(inputs, queries, mode='loss')
        for name, loss in expected.items():
            assert abs(losses[name].item() / loss.item() - 1) < 2 * self.half_tolerance, name
