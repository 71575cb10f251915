# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A frozen backbone and a meta head: query and supports in, masks out."""

from collections.abc import Mapping, Sequence

import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor

from mmfss.registry import MODELS
from mmfss.structures import SupportBank, prediction_key
from mmfss.utils.precision import after_backbone
from mmfss.utils.weights import load_base_learner

from ..backbones import BackboneFeatures
from ..layers import decided, foreground, resize
from .feature_cache import FeatureCache


@MODELS.register_module()
class FewShotSegmentor(BaseSegmentor):
    """Segments a query by the supports of its episode.

    The three steps can be called on their own, so supports are encoded once for any number of queries::

        bank = model.encode_support(support, support_mask)
        scores = model.segment(model.extract_feat(query), bank)

    Args:
        backbone (dict): config of a backbone with ``extract_blocks`` (BlockResNet, BlockVGG, BlockFeatureBackbone). It
            is frozen: no gradients, always in eval mode.
        decode_head (dict): config of a meta head; ``in_channels`` and ``num_blocks`` are filled in from the backbone.
        comparison_heads (dict[str, dict], optional): further meta heads without weights by name, run beside the method
            in 'predict' mode only, so that its floors are measured on the same episodes. Defaults to None.
        loss_decode (dict): config of the pixel loss on 'final' and 'meta'.
        base_checkpoint (str, optional): stage 1's checkpoint; :meth:`init_weights` loads it and refuses one that does
            not fit. Defaults to None.
        data_preprocessor (dict, optional): config of the preprocessor, EpisodeDataPreProcessor as a rule.
        feature_cache_gb (float): gigabytes of backbone features kept between evaluation batches, since episodes meet
            the same images again and again. 0 keeps none. Defaults to 0.
        train_cfg, test_cfg (dict, optional): accepted as mmseg's segmentors do; not used.
        init_cfg (dict, optional): initialisation config.
    """

    def __init__(
        self,
        backbone: dict,
        decode_head: dict,
        comparison_heads: Mapping[str, dict] | None = None,
        loss_decode: dict | None = None,
        base_checkpoint: str | None = None,
        data_preprocessor: dict | None = None,
        feature_cache_gb: float = 0,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        if not hasattr(self.backbone, 'extract_blocks'):
            raise TypeError(
                f"backbone '{backbone['type']}' gives no block features; wrap it: "
                "dict(type='BlockFeatureBackbone', backbone=..., blocks=...)"
            )
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
        self.backbone.requires_grad_(False)
        self.feature_cache = FeatureCache(self.backbone, feature_cache_gb) if feature_cache_gb else None
        self.train_cfg, self.test_cfg = train_cfg, test_cfg
        self.fingerprint = ''  # of the weights, put into banks; training and evaluation need none
        self.to(memory_format=torch.channels_last)  # the layout in which convolutions run fastest, on CPU and GPU

    def init_weights(self) -> None:
        """Initialise, then load the base learner of stage 1 where one is named."""
        super().init_weights()
        if self.base_checkpoint is not None:
            load_base_learner(self, self.base_checkpoint)

    def train(self, mode: bool = True) -> 'FewShotSegmentor':
        """As nn.Module's, with the backbone always in eval mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    @torch.no_grad()
    def extract_feat(self, inputs: Tensor) -> BackboneFeatures:
        """Features of normalised images (N, 3, H, W); in evaluation float32, whatever autocast says."""
        if self.training:
            return self.backbone.extract_blocks(inputs)
        extract = self.backbone.extract_blocks
        return (self.feature_cache(inputs, extract) if self.feature_cache is not None else extract(inputs)).float()

    def encode_support(self, inputs: Tensor, masks: Tensor) -> SupportBank:
        """Everything the supports contribute.

        Args:
            inputs (Tensor): normalised support images (B, K, 3, H, W).
            masks (Tensor): their labels (B, K, H, W); exactly the pixels labelled 1 are foreground.

        Returns:
            SupportBank: of B episodes, K shots.
        """
        B, K = masks.shape[:2]
        features = self.extract_feat(inputs.flatten(0, 1))  # of N = B*K images
        mask = foreground(masks).flatten(0, 1).unsqueeze(1)  # (N, 1, H, W)
        with after_backbone(self.training, inputs.device):
            parts = {name: head.encode_support(features, mask) for name, head in self._meta_heads().items()}
        return SupportBank.merge(
            {name: {k: t.unflatten(0, (B, K)) for k, t in part.items()} for name, part in parts.items()},
            self.fingerprint,
        )

    def segment(self, features: BackboneFeatures, bank: SupportBank) -> dict[str, Tensor]:
        """Scores of the queries at feature size.

        Args:
            features (BackboneFeatures): of B queries.
            bank (SupportBank): of the same B episodes, or of one episode that serves all queries.

        Returns:
            dict[str, Tensor]: ``final`` (B, 2, h, w), and one entry for each comparison head in the bank.
        """
        bank = bank.expand(features.stages[0].shape[0])
        with after_backbone(self.training, features.stages[0].device):
            final = self.decode_head(features, bank.part('meta')).logits.float()
        return dict(final=final, **self._compare(features, bank))

    def foreground_probability(self, final: Tensor) -> Tensor:
        """How sure ``final`` is of the foreground: (B, 2, ...) -> (B, ...) of 0..1, >= 0.5 exactly where it wins.

        Softmax of the logits; a model whose ``final`` are no logits overrides this.
        """
        return decided(final.softmax(1)[:, 1], final)

    def encode_decode(self, inputs: dict[str, Tensor], batch_data_samples: list[SegDataSample] | None = None) -> Tensor:
        """``final`` scores (B, 2, H, W) at input size (mmseg's interface)."""
        return self._forward(inputs, batch_data_samples)['final']

    def _forward(self, inputs: dict[str, Tensor], data_samples: list[SegDataSample] | None = None) -> dict[str, Tensor]:
        """Scores at input size: name -> (B, channels, H, W). ``inputs`` as EpisodeDataPreProcessor makes them."""
        scores = self._scores(inputs)
        return {name: resize(score, inputs['query'].shape[-2:]) for name, score in scores.items()}

    def loss(self, inputs: dict[str, Tensor], data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        """Pixel losses of ``final`` against the binary labels at input size."""
        final = resize(self._scores(inputs)['final'], inputs['query'].shape[-2:])
        return dict(loss_final=self.loss_decode(final, self.stack_labels(data_samples), ignore_index=255))

    def predict(
        self, inputs: dict[str, Tensor], data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Predictions at the queries' original size.

        Args:
            inputs (dict[str, Tensor]): as EpisodeDataPreProcessor makes them.
            data_samples (list[SegDataSample], optional): the B query samples; their ``restore_shape`` and ``ori_shape``
                say how to undo the geometry of the pipeline. None leaves predictions at input size.

        Returns:
            list[SegDataSample]: with ``pred_sem_seg`` (the ``final`` output), ``seg_logits`` (its scores) and
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
                mask = PixelData(data=restored.argmax(0, keepdim=True))
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

    @staticmethod
    def stack_labels(data_samples: list[SegDataSample], field: str = 'gt_sem_seg') -> Tensor:
        """Labels (B, H, W) int64 of a batch."""
        return torch.cat([sample.get(field).data for sample in data_samples]).long()

    def _scores(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scores at feature size of a batch of episodes."""
        return self.segment(
            self.extract_feat(inputs['query']), self.encode_support(inputs['support'], inputs['support_mask'])
        )

    def _meta_heads(self) -> dict[str, torch.nn.Module]:
        """Heads that read supports: the method, and outside training those it is compared with."""
        return dict(meta=self.decode_head, **({} if self.training else self.comparison_heads))

    def _compare(self, features: BackboneFeatures, bank: SupportBank) -> dict[str, Tensor]:
        """Scores (B, 2, h, w) of the comparison heads whose part the bank holds."""
        if self.training:
            return {}
        parts = {name: bank.part(name) for name in self.comparison_heads}
        with after_backbone(self.training, features.stages[0].device):
            return {
                name: self.comparison_heads[name](features, part).logits for name, part in parts.items() if part.tensors
            }
