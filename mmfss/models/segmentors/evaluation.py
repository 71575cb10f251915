# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Episodes of an evaluation: every image is encoded by itself, and once as long as it is kept."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmfss.structures import EncodedQuery, SupportBank

from .encoding_store import EncodingStore, digest
from .sliding import slide


class Evaluation:
    """The part of a segmentor that evaluates.

    Images are encoded one by one, and episodes segmented one by one, so no result depends on the batch it was computed
    in or on what was kept.

    Attributes:
        feature_cache (EncodingStore, optional): Keeps encoded supports and queries; None: nothing is kept.
    """

    feature_cache: EncodingStore | None

    def train(self, mode: bool = True) -> 'Evaluation':
        """As nn.Module's; training needs the memory of what was kept."""
        if mode and self.feature_cache is not None:
            self.feature_cache.clear()
        return super().train(mode)

    def segment_images(
        self,
        images: Tensor,
        banks: Sequence[SupportBank],
        padding: Tensor | None = None,
        episode_seed: Tensor | None = None,
    ) -> list[dict[str, Tensor]]:
        """Scores of normalised queries (B, 3, H, W) against each bank, whole or in windows as ``test_cfg`` says.

        Returns:
            list[dict[str, Tensor]]: For each bank what :meth:`segment` gives; in windows at image size.
        """
        banks = [self.finish(bank) for bank in banks]

        def segment(window: Tensor, padded: Tensor | None) -> list[dict[str, Tensor]]:
            single = all(bank.batch_size == 1 for bank in banks) and len(window) == 1
            visit = self.query_visitor(banks) if single else None
            query = self.encode_for(self.extract_feat(window, padded, episode_seed, visit), banks)
            return [self.segment(query.visited(i) if visit else query, bank) for i, bank in enumerate(banks)]

        return self._whole_or_windows(images, padding, segment)

    def _encode_images(self, images: Tensor, padding: Tensor | None, episode_seed: Tensor | None) -> EncodedQuery:
        return self.encode_query(self.extract_feat(images, padding, episode_seed))

    def _whole_or_windows(
        self, images: Tensor, padding: Tensor | None, segment: Callable[[Tensor, Tensor | None], list[dict]]
    ) -> list[dict[str, Tensor]]:
        """What ``segment`` makes of images and padding, at once or joined from windows."""
        if self.training or self.test_cfg['mode'] == 'whole':
            return segment(images, padding)
        return slide(images, padding, segment, self.test_cfg['crop_size'], self.test_cfg['stride'])

    def _scores(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scores of a batch of episodes, at feature size or, in windows, at input size."""
        if self.training:
            seed = inputs.get('episode_seed')
            bank = self.encode_support(inputs['support'], inputs['support_mask'], seed)
            return self.segment_images(inputs['query'], [bank], inputs.get('query_padding'), seed)[0]
        if self.feature_cache is not None:
            self.feature_cache.follow(self)
        episodes = range(inputs['query'].shape[0])
        parts = [self._evaluate_episode({k: t[i : i + 1] for k, t in inputs.items()}) for i in episodes]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _evaluate_episode(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        seed = inputs.get('episode_seed')
        pairs = zip(inputs['support'].split(1, dim=1), inputs['support_mask'].split(1, dim=1), strict=True)
        shots = [self._kept('support', self.encode_support, image, mask, seed) for image, mask in pairs]
        store = self.feature_cache
        bank = self.finish(SupportBank.stack_shots(_exact(store, self._for_forward(shot)) for _, shot in shots))
        if 'query_labels' in inputs:  # of an evaluation that tells the head the truth, see EpisodeDataPreProcessor
            bank = bank.with_summary({**bank.summary, 'meta.query_labels': inputs['query_labels']})

        def segment(image: Tensor, padding: Tensor | None) -> list[dict[str, Tensor]]:
            visit = None if self._keeps else self.query_visitor([shot for _, shot in shots])
            if visit:
                query = self.encode_query(self.extract_feat(image, padding, seed, visit))
                pairs = [self.compare(query.visited(k), shot) for k, (_, shot) in enumerate(shots)]
            else:
                name, query = self._kept('query', self._encode_images, image, padding, seed)
                query = self._in_episode(_exact(store, query, remember=True), seed)
                pairs = [self._compared(name + key, query, shot) for key, shot in shots]
            compared = SupportBank.stack_shots(pairs)
            return [self.segment(query, bank.with_comparison(compared))]

        return self._whole_or_windows(inputs['query'], inputs.get('query_padding'), segment)[0]

    def _kept(self, role: str, encode: Callable, *inputs: Tensor | None) -> tuple[bytes, SupportBank | EncodedQuery]:
        """Key and value of a support or a query; the last of the inputs is the episode's seed."""
        if not self._keeps:
            return b'', encode(*inputs)
        content = inputs if self._encoding_draws else inputs[:-1]  # the seed counts where an encoding draws
        request = role, self.computes_in_bfloat16(inputs[0].device)
        key = digest(request, *(tensor for tensor in content if tensor is not None))
        return key, self.feature_cache.get(role, key, lambda: encode(*inputs))

    def _in_episode(self, query: EncodedQuery, seed: Tensor | None) -> EncodedQuery:
        """A query that may have been kept from another episode, with the seed of this one."""
        if not self._draws:
            return query
        return query.with_seed(torch.zeros(query.batch_size, dtype=torch.long) if seed is None else seed)

    def _compared(self, key: bytes, query: EncodedQuery, shot: SupportBank) -> SupportBank:
        """What the heads make of a query and one shot together."""

        def compare() -> SupportBank:
            return self.compare(query, _exact(self.feature_cache, shot))

        if not self._keeps or not any(head.compares for head in self._meta_heads().values()):
            return compare()
        return self.feature_cache.get('comparison', key, compare)

    def _for_forward(self, shot: SupportBank) -> SupportBank:
        """A bank without the tensors that comparing alone reads."""
        dropped = {f'{name}.{key}' for name, head in self._meta_heads().items() for key in head.compared_tensors()}
        return shot.without(dropped)

    @property
    def _keeps(self) -> bool:
        # With gradients every result belongs to one graph.
        return self.feature_cache is not None and not torch.is_grad_enabled()


def _exact(
    store: EncodingStore | None, value: SupportBank | EncodedQuery, remember: bool = False
) -> SupportBank | EncodedQuery:
    return value if store is None else store.exact(value, remember)
