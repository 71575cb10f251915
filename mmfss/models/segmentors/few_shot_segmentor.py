# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A backbone and a meta head: query and supports in, masks out."""

from collections.abc import Mapping, Sequence

import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor

from mmfss.registry import MODELS
from mmfss.structures import BackboneFeatures, EncodedQuery, SupportBank, prediction_key
from mmfss.utils.weights import load_base_learner

from ..decode_heads import BaseMetaHead, MetaOutput
from ..layers import agree_with_argmax, resize
from ..layers.slices import image_slices
from .encoding_files import EncodingFiles
from .encoding_store import EncodingStore
from .evaluation import Evaluation
from .feature_extraction import FeatureExtraction
from .presence import has_presence, keep_last_stage, presence_maps
from .sliding import check_test_cfg


@MODELS.register_module()
class FewShotSegmentor(Evaluation, FeatureExtraction, BaseSegmentor):
    """Segments a query by the supports of its episode.

    The three steps can be called on their own, so supports are encoded once for any number of queries::

        bank = model.finish(model.encode_support(support, support_mask))
        scores = model.segment(model.extract_feat(query), bank)

    Args:
        backbone (dict): Config of a backbone with ``extract_blocks`` (BlockResNet, BlockVGG, BlockFeatureBackbone).
        decode_head (dict): Config of a meta head; ``in_channels`` and ``num_blocks`` are filled in from the backbone.
        neck (dict, optional): Config of a module that makes one map of the tuple of stages; heads find it as
            ``features.neck``. It is frozen and trained along with the backbone. Defaults to None.
        comparison_heads (dict[str, dict], optional): Further meta heads without weights by name, run beside the method
            in 'predict' mode only, so that its floors are measured on the same episodes. Defaults to None.
        loss_decode (dict): Config of the pixel loss that the head's losses use.
        base_checkpoint (str, optional): Stage 1's checkpoint; :meth:`init_weights` loads it and refuses one that does
            not fit. Defaults to None.
        freeze_backbone (bool): No gradients for backbone and neck. False trains them. Defaults to True.
        norm_eval (bool): BatchNorm of backbone and neck keeps its statistics in training. False: statistics of the
            batch are used and the running ones move, of a frozen backbone too, as PFENet and ASGNet were trained; the
            queries come first, then each shot as a batch of its own. Defaults to True.
        data_preprocessor (dict, optional): Config of the preprocessor, EpisodeDataPreProcessor as a rule.
        precision (str): Of inference, 'float32', 'bfloat16' or 'auto', in :attr:`precision` later on. bfloat16 runs
            backbone and similarities faster where a device computes in it (CPUs with
            AVX512-BF16 or AMX, GPUs since Ampere) and is float32 with a warning elsewhere; 'auto' is bfloat16 there and
            float32 elsewhere without one. Training does not read it. Defaults to 'float32'.
        feature_cache_gb (float | str): Gigabytes of encoded images kept between the episodes of an evaluation, which
            meet the same images again and again. 'auto' is half of the free memory, 0 keeps none. Defaults to 'auto'.
        feature_cache_dtype (str): 'bfloat16' or 'float16' keeps twice as many, rounded. Defaults to 'float32': exact.
        feature_cache_dir (str, optional): Folder in which encoded images are kept for further runs of the same weights
            and for other processes. Defaults to None: none.
        feature_cache_dir_gb (float): All files of that folder at most, in gigabytes. Defaults to 50.
        train_cfg (dict, optional): Must be empty; mmseg's segmentors have it.
        test_cfg (dict, optional): ``dict(mode='slide', crop_size=(h, w), stride=(h, w))`` segments large queries in
            overlapping windows; ``dict(mode='whole')`` is the default.
        init_cfg (dict, optional): Initialisation config.
    """

    def __init__(
        self,
        backbone: dict,
        decode_head: dict,
        neck: dict | None = None,
        comparison_heads: Mapping[str, dict] | None = None,
        loss_decode: dict | None = None,
        base_checkpoint: str | None = None,
        freeze_backbone: bool = True,
        norm_eval: bool = True,
        data_preprocessor: dict | None = None,
        precision: str = 'float32',
        feature_cache_gb: float | str = 'auto',
        feature_cache_dtype: str = 'float32',
        feature_cache_dir: str | None = None,
        feature_cache_dir_gb: float = 50,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if train_cfg:
            raise ValueError(f'train_cfg={dict(train_cfg)}: a few-shot segmentor has no such fields, leave it out')
        self.train_cfg, self.test_cfg = train_cfg, check_test_cfg(test_cfg)
        self.backbone = MODELS.build(backbone)
        if not hasattr(self.backbone, 'extract_blocks'):
            raise TypeError(
                f"backbone '{backbone['type']}' gives no block features; wrap it: "
                "dict(type='BlockFeatureBackbone', backbone=..., blocks=...)"
            )
        if neck is not None:
            self.neck = MODELS.build(neck)
        known = dict(in_channels=self.backbone.stage_channels, num_blocks=self.backbone.num_blocks)
        self.decode_head = MODELS.build({**known, **decode_head})
        self.comparison_heads = torch.nn.ModuleDict(
            {name: MODELS.build({**known, **cfg}) for name, cfg in (comparison_heads or {}).items()}
        )
        if any(p.requires_grad for p in self.comparison_heads.parameters()):
            raise ValueError('comparison_heads must have no weights: they are not trained')
        # Averaging over the pixels that are not ignored is what BAM and MSANet do; mmseg's default is not.
        self.loss_decode = MODELS.build(loss_decode or dict(type='mmseg.CrossEntropyLoss', avg_non_ignore=True))
        self.base_checkpoint = base_checkpoint
        self.freeze_backbone, self.norm_eval = freeze_backbone, norm_eval
        if freeze_backbone:
            for part in self._shared_parts():
                part.requires_grad_(False)
        self.precision = precision
        # What encoded images depend on beside the weights; subclasses add to it.
        self._encoding = dict(
            backbone=backbone,
            decode_head=decode_head,
            neck=neck,
            comparison_heads=comparison_heads,
            dtype=feature_cache_dtype,
        )
        files = EncodingFiles(feature_cache_dir, feature_cache_dir_gb, self._encoding) if feature_cache_dir else None
        kept = feature_cache_gb != 0
        self.feature_cache = EncodingStore(feature_cache_gb, feature_cache_dtype, files) if kept else None
        self.fingerprint = ''  # of the weights, put into banks; training and evaluation need none
        self.to(memory_format=torch.channels_last)  # the layout in which convolutions run fastest, on CPU and GPU

    @property
    def learned(self) -> bool:
        """Whether there is anything to train: floors and training-free methods have no weights of their own."""
        return any(p.requires_grad for p in self.parameters())

    def init_weights(self) -> None:
        """Initialise, then load the base learner of stage 1 where one is named."""
        super().init_weights()
        if self.base_checkpoint is not None:
            load_base_learner(self, self.base_checkpoint)

    # ------------------------------------------------------------------ supports and queries

    def encode_support(
        self, inputs: Tensor | BackboneFeatures, masks: Tensor, episode_seed: Tensor | None = None
    ) -> SupportBank:
        """Everything the supports contribute.

        Args:
            inputs (Tensor | BackboneFeatures): Normalised supports (B, K, 3, H, W), or a store's features of all B*K.
            masks (Tensor): Their labels (B, K, H, W): 1 foreground, 0 background, 255 neither.
            episode_seed (Tensor, optional): int64 (B,), for heads that draw.

        Returns:
            SupportBank: Of B episodes, K shots; :meth:`finish` completes it.
        """
        if self.training and not self.norm_eval and masks.shape[1] > 1:  # batch statistics: a batch for each shot
            shots = range(masks.shape[1])
            return SupportBank.stack_shots(
                self.encode_support(inputs[:, k : k + 1], masks[:, k : k + 1], episode_seed) for k in shots
            )
        B, K = masks.shape[:2]
        images = inputs if isinstance(inputs, BackboneFeatures) else inputs.flatten(0, 1)
        labels = masks.flatten(0, 1).unsqueeze(1)  # (N, 1, H, W), N = B*K
        seeds = torch.zeros(B, dtype=torch.long, device=masks.device) if episode_seed is None else episode_seed
        seeds = seeds.repeat_interleave(K)
        if self.training:  # which keeps the maps for the gradients
            return self._encode_slice(images, labels, seeds).unflatten(B, K)
        # A slice's maps are dropped once its supports are encoded.
        banks = [self._encode_slice(images[n], labels[n], seeds[n]) for n in image_slices(images)]
        return SupportBank.stack_shots(banks).unflatten(B, K)

    def _encode_slice(self, images: Tensor | BackboneFeatures, labels: Tensor, seeds: Tensor) -> SupportBank:
        """Supports (n, ...) as one episode of n shots."""
        features = self.support_features(images, labels, seeds, self.support_visitor(labels))
        heads = self._meta_heads()
        with self._head_precision(images.device):
            parts = {name: head.encode_support(features, labels) for name, head in heads.items()}
        return SupportBank.merge(
            {name: {k: t.unsqueeze(0) for k, t in part.items()} for name, part in parts.items()},
            self.fingerprint,
            {name: head.open_dims() for name, head in heads.items()},
        )

    def finish(self, bank: SupportBank) -> SupportBank:
        """A bank with what the heads make of all its shots together (:meth:`BaseMetaHead.finish`).

        :meth:`segment` does it for a bank that is not finished; a bank that serves many queries is finished once.
        """
        if bank.finished:
            return bank
        summary = {}
        for name, head in self._meta_heads().items():
            part = bank.part(name)
            if part.tensors:
                with self._head_precision(next(iter(part.tensors.values())).device):
                    summary.update({f'{name}.{key}': t for key, t in head.finish(part).summary.items()})
        return bank.with_summary(summary)

    def encode_query(self, features: BackboneFeatures) -> EncodedQuery:
        """What the queries contribute to :meth:`segment`, whatever the supports.

        Args:
            features (BackboneFeatures): Of B queries.
        """
        with self._head_precision(features.device):
            return EncodedQuery({name: head.encode_query(features) for name, head in self._meta_heads().items()})

    def segment(self, features: BackboneFeatures | EncodedQuery, bank: SupportBank) -> dict[str, Tensor]:
        """Scores of the queries at feature size.

        Args:
            features (BackboneFeatures | EncodedQuery): Of B queries. A query that meets several banks is encoded once,
                see :meth:`encode_query`.
            bank (SupportBank): Of the same B episodes, or of one episode that serves all queries; float32 or bfloat16.

        Returns:
            dict[str, Tensor]: ``final`` (B, 2, h, w), what :meth:`scores` adds, one entry for each comparison head in
            the bank, and ``presence`` (B, 1, h, w) where :func:`with_presence` made the bank.
        """
        query = features if isinstance(features, EncodedQuery) else self.encode_for(features, [bank])
        if not self.training and not self.computes_in_bfloat16(query.device):
            bank = bank.to(torch.float32)
        bank = self.finish(bank).expand(query.batch_size)
        scores = self.scores(self._run_head('meta', query, bank), query)
        compared = [] if self.training else [name for name in self.comparison_heads if bank.part(name).tensors]
        scores |= {name: self._run_head(name, query, bank).logits.float() for name in compared}
        return scores | presence_maps(query, bank)

    def compare(self, query: EncodedQuery, bank: SupportBank) -> SupportBank:
        """What the heads make of each query with each support (:meth:`BaseMetaHead.compare`), as (B, K, ...).

        :meth:`segment` does it unless :meth:`SupportBank.with_comparison` has put the result into the bank.
        """
        parts = {}
        for name, head in self._meta_heads().items():
            with self._head_precision(query.device):
                parts[name] = head.compare(query.heads[name], bank.part(name))
        return SupportBank.merge(parts, bank.fingerprint)

    def scores(self, output: MetaOutput, query: EncodedQuery, own_class: Tensor | None = None) -> dict[str, Tensor]:
        """The model's outputs from the meta head's: here ``final`` alone."""
        return dict(final=output.logits.float())

    def foreground_probability(self, final: Tensor) -> Tensor:
        """How sure ``final`` is of the foreground: (B, 2, ...) -> (B, ...) of 0..1, >= 0.5 exactly where it wins.

        Softmax of the logits; a model whose ``final`` are no logits overrides this.
        """
        return agree_with_argmax(final.softmax(1)[:, 1], final)

    # ------------------------------------------------------------------ mmseg's interface

    def encode_decode(self, inputs: dict[str, Tensor], batch_data_samples: list[SegDataSample] | None = None) -> Tensor:
        """``final`` scores (B, 2, H, W) at input size (mmseg's interface)."""
        return self._forward(inputs, batch_data_samples)['final']

    def _forward(self, inputs: dict[str, Tensor], data_samples: list[SegDataSample] | None = None) -> dict[str, Tensor]:
        """Scores at input size: name -> (B, channels, H, W). ``inputs`` as EpisodeDataPreProcessor makes them."""
        scores = self._scores(inputs)
        return {name: resize(score, inputs['query'].shape[-2:]) for name, score in scores.items()}

    def loss(self, inputs: dict[str, Tensor], data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        """Training losses: the head's own, see :meth:`losses`."""
        seed = inputs.get('episode_seed')
        # The queries before the supports: where BatchNorm's statistics move, their order counts.
        query = self.encode_query(self.extract_feat(inputs['query'], inputs.get('query_padding'), seed))
        bank = self.finish(self.encode_support(inputs['support'], inputs['support_mask'], seed))
        return self.losses(self._run_head('meta', query, bank), query, bank, data_samples)

    def losses(
        self,
        output: MetaOutput,
        query: EncodedQuery,
        bank: SupportBank,
        data_samples: list[SegDataSample],
    ) -> dict[str, Tensor]:
        """The meta head's losses at input size."""
        return self.decode_head.loss(output, bank.part('meta'), data_samples, self.loss_decode)

    def predict(
        self, inputs: dict[str, Tensor], data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Predictions at the queries' original size.

        Args:
            inputs (dict[str, Tensor]): As EpisodeDataPreProcessor makes them.
            data_samples (list[SegDataSample], optional): The B query samples; their ``restore_shape`` and ``ori_shape``
                say how to undo the geometry of the pipeline. None leaves predictions at input size.

        Returns:
            list[SegDataSample]: With ``pred_sem_seg`` (the ``final`` output), ``seg_logits`` (its scores) and
            ``pred_<name>_seg`` for every further output.
        """
        scores = self._scores(inputs)
        if data_samples is None:
            data_samples = [SegDataSample() for _ in inputs['query']]
        return self.attach_predictions(scores, inputs['query'].shape[-2:], data_samples)

    def attach_predictions(
        self, scores: dict[str, Tensor], size: Sequence[int], data_samples: list[SegDataSample]
    ) -> list[SegDataSample]:
        """Write scores (B, channels, h, w) of an input of ``size`` into the samples, at original size."""
        for i, sample in enumerate(data_samples):
            for name, score in scores.items():
                restored = self.restore(score[i : i + 1], size, sample)  # (channels, H, W)
                # The same as argmax, 4 to 30 times as fast.
                mask = PixelData(data=restored.max(0, keepdim=True).indices)
                sample.set_field(mask, prediction_key(name), dtype=PixelData)
                if name == 'final':
                    sample.seg_logits = PixelData(data=restored)
        return data_samples

    @staticmethod
    def restore(maps: Tensor, size: Sequence[int], data_sample: SegDataSample) -> Tensor:
        """Undo a pipeline's geometry: maps (1, C, h, w) of an input of ``size`` -> (C, H, W) at original size."""
        shape = tuple(data_sample.metainfo.get('ori_shape', size))[:2]
        return resize(resize(maps, size), data_sample.metainfo.get('restore_shape', shape))[
            0, :, : shape[0], : shape[1]
        ]

    # ------------------------------------------------------------------ parts

    def encode_for(self, features: BackboneFeatures, banks: Sequence[SupportBank]) -> EncodedQuery:
        """The queries with all that one of the banks asks for."""
        query = self.encode_query(features)
        return keep_last_stage(query, features) if any(map(has_presence, banks)) else query

    def _run_head(self, name: str, query: EncodedQuery, bank: SupportBank) -> MetaOutput:
        with self._head_precision(query.device):
            return self._meta_heads()[name](query.heads[name], bank.part(name))

    def _meta_heads(self) -> dict[str, BaseMetaHead]:
        """Heads that read supports: the method, and outside training those it is compared with."""
        return dict(meta=self.decode_head, **({} if self.training else self.comparison_heads))
