# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Episodes to tensors: the one place that knows how a collated batch becomes the model's input."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmfss.registry import MODELS


@MODELS.register_module()
class EpisodeDataPreProcessor(BaseDataPreprocessor):
    """Normalises and stacks queries and supports.

    Images are expected at their final, equal size: padding is part of the pipelines, since the published geometry pads
    *before* normalisation.

    Args:
        mean (Sequence[float]): of each RGB channel (or of the channels as they come, without ``bgr_to_rgb``).
        std (Sequence[float]): likewise.
        bgr_to_rgb (bool): reverse the channel order first. Defaults to False.
        non_blocking (bool): asynchronous copy to the device. Defaults to False.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], bgr_to_rgb: bool = False, non_blocking: bool = False
    ):
        super().__init__(non_blocking)
        self.bgr_to_rgb = bgr_to_rgb
        self.register_buffer('mean', torch.tensor(mean).view(3, 1, 1), False)
        self.register_buffer('std', torch.tensor(std).view(3, 1, 1), False)

    def forward(self, data: dict, training: bool = False) -> dict[str, object]:
        """Collated episodes to model input.

        Args:
            data (dict): ``inputs`` {query: B x (3, H, W), support: K x B x (3, H, W)} and ``data_samples`` alike, as
                mmengine's ``pseudo_collate`` leaves them (supports transposed).
            training (bool): not used; kept for the interface.

        Returns:
            dict: ``inputs`` {query (B, 3, H, W), support (B, K, 3, H, W), support_mask (B, K, H, W) int64} and
            ``data_samples``, the B query samples.

        Raises:
            ValueError: when queries, or supports with their masks, differ in size.
        """
        data = self.cast_data(data)
        inputs, samples = data['inputs'], data['data_samples']
        B, queries = len(inputs['query']), list(inputs['query'])
        images = [image for shot in inputs['support'] for image in shot]  # K*B of them
        supports = [sample for shot in samples['support'] for sample in shot]
        masks = [sample.gt_sem_seg.data.squeeze(0).to(self.mean.device) for sample in supports]
        self._check_sizes(queries, samples['query'], 'queries')
        self._check_sizes([*images, *masks], [*supports, *supports], 'supports and their masks')

        def shots_last(stacked: Tensor) -> Tensor:  # (K*B, ...) -> (B, K, ...)
            return stacked.unflatten(0, (-1, B)).transpose(0, 1).contiguous()

        return dict(
            inputs=dict(
                query=self.normalize(torch.stack(queries)),  # (B, 3, H, W)
                support=shots_last(self.normalize(torch.stack(images))),  # (B, K, 3, H, W)
                support_mask=shots_last(torch.stack(masks).long()),
            ),  # (B, K, H, W)
            data_samples=samples['query'],
        )

    def normalize(self, images: Tensor) -> Tensor:
        """(..., 3, H, W), 0..255 in file order -> normalised floats."""
        if self.bgr_to_rgb:
            images = images.flip(-3)
        return (images.float() - self.mean) / self.std

    @staticmethod
    def _check_sizes(tensors: Sequence[Tensor], samples: Sequence, what: str) -> None:
        if len({tuple(tensor.shape[-2:]) for tensor in tensors}) > 1:
            names = [
                (sample.metainfo.get('img_path'), tuple(tensor.shape[-2:]))
                for tensor, sample in zip(tensors, samples, strict=True)
            ]
            raise ValueError(
                f'{what} of one batch differ in size: {names}. End the pipeline with a crop or a pad to a '
                'fixed size, or set batch_size=1'
            )
