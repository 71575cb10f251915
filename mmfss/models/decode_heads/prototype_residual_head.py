# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A training-free prototype's scores, corrected by a net that sees comparisons with the supports, never the query."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmfss.registry import MODELS
from mmfss.structures import STAGES, BackboneFeatures, SupportBank
from mmfss.utils.precision import without_autocast

from ..layers import background, foreground, resize
from ..layers import support_evidence as ev
from ..layers.evidence_net import EvidenceNet, Sharpening
from ..losses.foreground_dice import foreground_dice
from .base_meta_head import IGNORE, BaseMetaHead, MetaOutput, stack_labels

BACKGROUND, FOREGROUND = 0, 1  # order of the sides
# Readings: the net; the net without appearance; nearest pixels; the fitted classifier; the means of net and nearest
# pixels, and of net and prototype.
READINGS, NET, BLIND = 6, 0, 1
COSINE_SCALE, FIT_SCALE = 16.0, 4.0  # of cosines and of fitted values as logits
STEEPNESS = 4.0  # of the step from logits to a mask: with a hard one, rounding would move the agreement
CERTAINTY = 12.0  # of the shares: 0.06 of IoU more is twice the share
NOT_KNOWN = -1.0
MAX_HELD_OUT = 10  # supports that are segmented by the others


@MODELS.register_module()
class PrototypeResidualHead(BaseMetaHead):
    """mmfss's own head for photos of anything: :class:`PrototypeHead`'s scores plus a learned correction.

    The net's input are maps that no class has a say in: cosines of each query pixel to the supports' mean vectors and
    nearest pixels, for each block, and a ridge regression fitted to the supports' pixels. It cannot learn what its
    training classes look like, only how such evidence is to be read; where it adds nothing, the floor remains. Of the
    query itself it sees the stage of the edges, at the end, and with ``appearance_channels`` a few maps that are often
    taken away in training.

    The supports are segmented when they are registered, each by the others, a single one by itself. Photos of one scene
    are best served by the nearest support pixels, photos of a kind of thing by the net, a thing that the net took for
    background in training by the net without appearance: the IoU on the supports says how much each of six readings of
    the evidence counts.

    Args:
        channels (int): C of the hidden maps. Defaults to 64.
        sharpen (bool): Correct edges by layer1, which the backbone has to give. Defaults to True.
        scale (float): Of the prototype's scores at the start of training. Defaults to 12.
        appearance_channels (int): A, channels of the query's own features that the net sees as well; 0, the default,
            keeps it from them.
        appearance_dropout (float): Share of the queries in training for which it does not see them. Defaults to 0.4.
        dice_weight (float): Of the Dice loss beside the config's pixel loss. Defaults to 0.5.
        **kwargs: See :class:`BaseMetaHead`.

    Raises:
        ValueError: When ``sharpen`` is on and the backbone has no layer1.
    """

    uses_blocks = True
    cannot_export = 'it fits a classifier to the supports and segments them, in sizes that follow from their masks'

    def __init__(
        self,
        channels: int = 64,
        sharpen: bool = True,
        scale: float = 12.0,
        appearance_channels: int = 0,
        appearance_dropout: float = 0.4,
        dice_weight: float = 0.5,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.groups = ev.block_groups(self.num_blocks)
        self.num_maps = self.groups[-1][-1] + 1
        total = ev.PARTS * len(self.groups) + ev.FIT_PARTS
        stretched = 2 * len(self.groups) + 1
        self.net = EvidenceNet(total + stretched, channels, appearance_channels)
        self.appearance, self.appearance_dropout = None, appearance_dropout
        if appearance_channels:
            self.appearance = nn.Conv2d(sum(self.in_channels[stage] for stage in STAGES), appearance_channels, 1)
        self.scale = nn.Parameter(torch.tensor(float(scale)))
        self.sharpen = None
        self.query_stages = self.support_stages = STAGES  # whose blocks are read
        if sharpen:
            if 'layer1' not in self.in_channels:
                raise ValueError(
                    'sharpen=True reads layer1: give the backbone four out_indices, or set sharpen=False in the '
                    "config's decode_head"
                )
            self.sharpen = Sharpening(channels, self.in_channels['layer1'])
            self.query_stages = ('layer1', *STAGES)
        self.dice_weight = dice_weight

    # ------------------------------------------------------------------ supports

    def _unit_maps(self, features: BackboneFeatures) -> dict[str, Tensor]:
        """Block by block: ``unit_0``, ... (N, C_i, h, w) at layer3's size."""
        size = features['layer3'].shape[-2:]
        blocks = [block for stage in STAGES for block in features.blocks.get(stage, ())]
        return {f'unit_{i}': ev.unit_map(block, size) for i, block in enumerate(blocks)}

    def _look(self, features: BackboneFeatures) -> dict[str, Tensor]:
        """``appearance`` (N, A, h, w), what the net sees of an image itself; nothing where it sees none."""
        if self.appearance is None:
            return {}
        size = features['layer3'].shape[-2:]
        stages = torch.cat([resize(features[stage], size) for stage in STAGES], dim=1)
        return dict(appearance=F.relu(self.appearance(stages)))

    def encode_support(self, features: BackboneFeatures, labels: Tensor) -> dict[str, Tensor]:
        """``unit_i`` (N, C_i, h, w) of every block, ``sides`` (N, 2, h, w): soft masks of background and foreground."""
        size = features['layer3'].shape[-2:]
        sides = torch.cat([background(labels), foreground(labels)], dim=1)
        with torch.no_grad():  # read where the supports are segmented themselves, which no training does
            look = self._look(features)
        return dict(self._unit_maps(features), **look, sides=resize(sides, size))

    def finish(self, bank: SupportBank) -> SupportBank:
        """Adds mean vectors ``mean_i`` (B, 2, C_i), the fitted classifier, what both say of the supports, ``shares``.

        ``shares`` (B, R) is how much each reading of the evidence has to say. They follow from ``agreement`` (B, R):
        its IoU on each support when the others alone are the supports, the mean over the supports. A single support is
        segmented by itself, where only the nets are told apart: one that does not find a support's object even there
        has taken it for background in training. -1 where nothing is known.
        """
        with torch.no_grad(), without_autocast(bank.device.type):
            bank = bank.with_summary(self._summary(bank))
            if self.training:
                agreement = bank['sides'].new_full((bank.batch_size, READINGS), NOT_KNOWN, dtype=torch.float32)
                agreement[:, NET] = 1
            else:
                agreement = self._leave_one_out(bank) if bank.num_shots > 1 else self._nets_alone(bank)
        known = torch.where(agreement == NOT_KNOWN, -torch.inf, CERTAINTY * agreement)
        return bank.with_summary(dict(bank.summary, shares=F.softmax(known, dim=1), agreement=agreement))

    def _summary(self, bank: SupportBank) -> dict[str, Tensor]:
        """Mean vectors and fitted classifier of the shots of a bank."""
        maps = [bank[f'unit_{i}'].float() for i in range(self.num_maps)]  # (B, K, C_i, h, w)
        sides = bank['sides'].float()  # (B, K, 2, h, w)
        means = [ev.mean_vectors(m, sides) for m in maps]
        B, K = sides.shape[:2]
        flat = [m.transpose(1, 2).flatten(2) for m in maps]  # (B, C_i, K*h*w)
        cosines = ev.group_cosines(means, flat, self.groups)  # (B, G, 2, K*h*w)
        difference = (cosines[:, :, FOREGROUND] - cosines[:, :, BACKGROUND]).unflatten(2, (K, *sides.shape[3:]))
        own = ev.side_means(difference.transpose(1, 2), sides)  # (B, G, 2)
        kept = self._sides(sides).transpose(1, 2).flatten(2)  # (B, 2, K*h*w)
        fits = [ev.fit_pixels(torch.cat([f[b] for f in flat]).T, kept[b]) for b in range(B)]
        weight, offset, fitted = (torch.stack(parts) for parts in zip(*fits, strict=True))
        summary = dict(own=own, fit=weight, fit_offset=offset, fit_own=fitted)
        return {**summary, **{f'mean_{i}': m for i, m in enumerate(means)}}

    def _agreement(self, bank: SupportBank, k: int, by: SupportBank) -> Tensor:
        """Soft IoU (B, R) of each reading on support k of a bank, segmented by another bank with its summary."""
        extras = {name: t[:, k] for name, t in bank.tensors.items() if name in self._map_names}
        readings = self._read(BackboneFeatures({}, extras=extras), by)[0]  # (B, R, h, w)
        back, fore = self._sides(bank['sides'][:, k])[:, :, None].float().unbind(1)  # (B, 1, h, w)
        found = (STEEPNESS * readings).sigmoid() * (back + fore).clamp(max=1)
        both = (found * fore).sum((2, 3))
        return both / (found.sum((2, 3)) + fore.sum((2, 3)) - both).clamp(min=1)

    def _leave_one_out(self, bank: SupportBank) -> Tensor:
        """Agreement (B, R), the mean over at most 10 supports, each segmented by all others."""
        shots = bank.num_shots
        held_out = [int(k) for k in torch.linspace(0, shots - 1, min(shots, MAX_HELD_OUT))]
        return torch.stack([self._agreement(bank, k, self._without(bank, k)) for k in held_out]).mean(0)

    def _without(self, bank: SupportBank, k: int) -> SupportBank:
        """A bank with a summary of its own, of all supports but one."""
        others = [i for i in range(bank.num_shots) if i != k]
        rest = SupportBank({name: t[:, others] for name, t in bank.tensors.items()})
        return rest.with_summary(self._summary(rest))

    def _nets_alone(self, bank: SupportBank) -> Tensor:
        """Agreement (B, R) of a support with itself, for the nets; what compares pixels would find each in itself."""
        agreement = self._agreement(bank, 0, bank)
        agreement[:, BLIND + 1 :] = NOT_KNOWN
        return agreement

    @staticmethod
    def _sides(soft: Tensor) -> Tensor:
        """Soft masks (..., 2, h, w) to bool: more than half, or for a tiny object its strongest pixel."""
        top = soft.amax((-2, -1), keepdim=True)
        kept = soft > 0.5
        tiny = (soft == top) & (top > 0)
        return torch.stack([kept[..., BACKGROUND, :, :], (kept | tiny)[..., FOREGROUND, :, :]], dim=-3)

    # ------------------------------------------------------------------ queries

    def encode_query(self, features: BackboneFeatures) -> BackboneFeatures:
        """See :meth:`BaseMetaHead.encode_query`: ``unit_i`` (B, C_i, h, w), and layer1 for the edges."""
        stages = ('layer1',) if self.sharpen is not None else ()
        return features.keep(stages=stages, extras=dict(self._unit_maps(features), **self._look(features)))

    def compare(self, features: BackboneFeatures, bank: SupportBank) -> dict[str, Tensor]:
        """See :meth:`BaseMetaHead.compare`: ``nearest`` (B, K, 2G, h, w), cosines to each support's nearest pixels."""
        names = [f'unit_{i}' for i in range(self.num_maps)]
        sides = self._sides(bank['sides'])
        with torch.no_grad(), without_autocast(features.device.type):
            query = [features.extras[n].float() for n in names]
            shots = [
                ev.nearest_pixels(query, [bank[n][:, k].float() for n in names], sides[:, k], self.groups)
                for k in range(bank.num_shots)
            ]
        return dict(nearest=torch.stack(shots, dim=1))

    def evidence(self, features: BackboneFeatures, bank: SupportBank) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All maps that the net reads (B, E, h, w), and those that segment by themselves, each (B, 1, h, w).

        They are the prototype's and the nearest pixels' difference of cosines to foreground and background, and the
        fitted classifier's value.
        """
        G = len(self.groups)
        query = [features.extras[f'unit_{i}'].float() for i in range(self.num_maps)]
        means = [bank[f'mean_{i}'].float() for i in range(self.num_maps)]
        back, fore = ev.group_cosines(means, query, self.groups).unbind(2)  # (B, G, h, w)
        near = self.compared(features, bank)['nearest'].float().amax(1)  # (B, 2G, h, w)
        near_back, near_fore = near[:, :G], near[:, G:]
        own = bank['own'].float()[..., None, None]  # (B, G, 2, 1, 1)
        gap = (own[:, :, FOREGROUND] - own[:, :, BACKGROUND]).clamp(min=0.05)
        mean_difference, near_difference = fore - back, near_fore - near_back
        level = (mean_difference - own[:, :, BACKGROUND]) / gap
        parts = [fore, back, near_fore, near_back, 4 * mean_difference, 4 * near_difference, level]
        fit = torch.einsum('bc,bchw->bhw', bank['fit'].float(), torch.cat(query, dim=1))
        fit = (fit + bank['fit_offset'].float()[:, None, None])[:, None]  # (B, 1, h, w)
        low, high = bank['fit_own'].float()[..., None, None, None].unbind(1)  # (B, 1, 1, 1)
        fits = [fit, (fit - low) / (high - low).clamp(min=0.1)]
        raw = torch.cat([4 * mean_difference, 4 * near_difference, fit], dim=1)
        lowest, highest = raw.amin((2, 3), keepdim=True), raw.amax((2, 3), keepdim=True)
        stretched = (raw - lowest) / (highest - lowest + 1e-5)
        maps = torch.cat([*parts, *fits, stretched], dim=1)
        return maps, mean_difference[:, -2:-1], near_difference[:, -1:], fit

    def _read(self, features: BackboneFeatures, bank: SupportBank) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """The readings as logits of the foreground (B, R, h, w), and of the two nets hidden maps and scores.

        The second net is the first one that does not see the query's appearance.
        """
        with torch.no_grad(), without_autocast(features.device.type):
            evidence, floor, nearest, fit = self.evidence(features, bank)
        start, look = self.scale * floor, features.extras.get('appearance')
        nets = [self.net(evidence, start, look)]
        nets.append(nets[0] if look is None else self.net(evidence, start, torch.zeros_like(look)))
        (_, sighted), (_, blind) = nets
        nearest, prototype = COSINE_SCALE * nearest, COSINE_SCALE * floor
        readings = [sighted, blind, nearest, FIT_SCALE * fit, (sighted + nearest) / 2, (sighted + prototype) / 2]
        return torch.cat(readings, dim=1), nets

    def _sharpened(self, hidden: Tensor, scores: Tensor, features: BackboneFeatures) -> Tensor:
        """Scores (B, 1, h', w') of a net at the size of the logits."""
        return scores if self.sharpen is None else self.sharpen(hidden, scores, features['layer1'])

    def forward(self, features: BackboneFeatures, bank: SupportBank) -> MetaOutput:
        """Logits (B, 2, h, w) at layer1's size, layer3's without sharpening; auxiliary ``coarse`` in training."""
        with self.decoding(features.device):
            if self.training:
                return self._train_forward(features, bank)
            readings, nets = self._read(features, bank)
            fine = [self._sharpened(*nets[NET], features)]
            fine.append(fine[NET] if nets[BLIND] is nets[NET] else self._sharpened(*nets[BLIND], features))
        size = fine[0].shape[-2:]
        # The share that the nets have in each reading is sharpened.
        parts = readings.new_tensor([[1.0, 0.0, 0.0, 0.0, 0.5, 0.5], [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]])
        readings = resize(readings, size)
        for part, sharp, (_, coarse) in zip(parts, fine, nets, strict=True):
            readings = readings + part[:, None, None] * (sharp - resize(coarse, size))
        shares = bank['shares'].float()[..., None, None]
        probability = (shares * readings.sigmoid()).sum(1, keepdim=True)
        return MetaOutput(two_logits(probability.clamp(1e-6, 1 - 1e-6).logit()))

    def _train_forward(self, features: BackboneFeatures, bank: SupportBank) -> MetaOutput:
        """The net alone, which does not see the appearance of some of the queries."""
        with torch.no_grad(), without_autocast(features.device.type):
            evidence, floor = self.evidence(features, bank)[:2]
        look = features.extras.get('appearance')
        if look is not None:
            look = look * (torch.rand(len(look), 1, 1, 1, device=look.device) >= self.appearance_dropout)
        hidden, coarse = self.net(evidence, self.scale * floor, look)
        fine = self._sharpened(hidden, coarse, features)
        return MetaOutput(two_logits(fine), auxiliary=dict(coarse=two_logits(coarse)))

    def loss(
        self,
        output: MetaOutput,
        bank: SupportBank,
        data_samples: Sequence[SegDataSample],
        loss_decode: Callable[..., Tensor],
    ) -> dict[str, Tensor]:
        """``loss_final`` and ``loss_dice``, the mean of fine and coarse scores, at image size."""
        labels = stack_labels(data_samples)
        maps = [output.logits, *output.auxiliary.values()]
        scores = [resize(logits.float(), labels.shape[-2:]) for logits in maps]
        pixel = sum(loss_decode(s, labels, ignore_index=IGNORE) for s in scores) / len(scores)
        dice = sum(foreground_dice(s, labels) for s in scores) / len(scores)
        return dict(loss_final=pixel, loss_dice=self.dice_weight * dice)

    def open_dims(self) -> dict[str, tuple[int, ...]]:
        """All maps are of the supports' size."""
        return {name: (-2, -1) for name in ('sides', *self._map_names)}

    @property
    def _map_names(self) -> tuple[str, ...]:
        """Names of the maps that queries and supports have alike."""
        units = tuple(f'unit_{i}' for i in range(self.num_maps))
        return units if self.appearance is None else (*units, 'appearance')


def two_logits(score: Tensor) -> Tensor:
    """A score (B, 1, h, w) as logits of background and foreground (B, 2, h, w): their difference is the score."""
    return torch.cat([-score / 2, score / 2], dim=1)
