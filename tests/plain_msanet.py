# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""MSANet written down once more, as its description reads: step by step, one support after the other, nothing clever.

What the fast model is compared with, in its outputs and in its speed. It takes the weights of a BaseLearnerEnsemble
with MSANetHead on BlockResNet or BlockVGG.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

STRIDES, DILATIONS = (1, 2, 1, 1), (1, 1, 2, 4)


class PlainMSANet:
    """Outputs and losses.

    Args:
        state: The weights, by their names in mmfss; not copied.
        dilations: Of the decoder's 3x3 branches.
        bins: Of the base learner's pyramid.
    """

    def __init__(self, state: Mapping[str, Tensor], dilations=(6, 12, 18), bins=(1, 2, 3, 6)):
        self.state, self.dilations, self.bins = state, dilations, bins
        self.vgg = 'backbone.layer0.0.weight' in state

    # -------------------------------------------------------------- layers

    def conv(self, x: Tensor, name: str, stride=1, padding=0, dilation=1) -> Tensor:
        weight, bias = self.state[f'{name}.weight'], self.state.get(f'{name}.bias')
        return F.conv2d(x, weight, bias, stride, padding, dilation)

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, var = self.state[f'{name}.running_mean'], self.state[f'{name}.running_var']
        return F.batch_norm(x, mean, var, self.state[f'{name}.weight'], self.state[f'{name}.bias'])

    @staticmethod
    def resize(x: Tensor, size) -> Tensor:
        return F.interpolate(x, tuple(size), mode='bilinear', align_corners=True)

    # -------------------------------------------------------------- backbone

    def backbone(self, x: Tensor) -> tuple[dict[str, Tensor], list[Tensor], list[tuple[int, int]]]:
        """Stages layer2 to layer4, block features in order, sizes that a mask passes before the first of them."""
        with torch.no_grad():
            return self.vgg16(x) if self.vgg else self.resnet(x)

    def vgg16(self, x: Tensor):
        stages, blocks = {}, []
        for layer, convs in enumerate((2, 2, 3, 3, 3)):
            for i in range(convs):
                x = self.conv(x, f'backbone.layer{layer}.{3 * i}', padding=1)
                if layer >= 3:
                    blocks.append(x)
                x = F.relu(self.norm(x, f'backbone.layer{layer}.{3 * i + 1}'))
            if layer < 4:
                x = F.max_pool2d(x, 2, 2, ceil_mode=True)
            stages[f'layer{layer}'] = x
        blocks.append(x)
        h, w = blocks[0].shape[-2:]
        return stages, blocks, [(2 * h, 2 * w)]

    def resnet(self, x: Tensor):
        if 'backbone.stem.0.weight' in self.state:
            for i, stride in ((0, 2), (3, 1), (6, 1)):
                x = self.conv(x, f'backbone.stem.{i}', stride, 1)
                x = F.relu(self.norm(x, f'backbone.stem.{i + 1}'))
        else:
            x = F.relu(self.norm(self.conv(x, 'backbone.conv1', 2, 3), 'backbone.bn1'))
        x = F.max_pool2d(x, 3, 2, 1)
        stages, blocks = {}, []
        for layer in range(1, 5):
            number = 0
            while f'backbone.layer{layer}.{number}.conv1.weight' in self.state:
                stride = STRIDES[layer - 1] if number == 0 else 1
                total = self.residual(x, f'backbone.layer{layer}.{number}', stride, DILATIONS[layer - 1])
                if layer >= 2:
                    blocks.append(total)
                x, number = F.relu(total), number + 1
            stages[f'layer{layer}'] = x
        h, w = stages['layer1'].shape[-2:]
        return stages, blocks, [(2 * h, 2 * w), (h, w)]

    def residual(self, x: Tensor, name: str, stride: int, dilation: int) -> Tensor:
        if f'{name}.conv3.weight' in self.state:
            y = F.relu(self.norm(self.conv(x, f'{name}.conv1'), f'{name}.bn1'))
            y = F.relu(self.norm(self.conv(y, f'{name}.conv2', stride, dilation, dilation), f'{name}.bn2'))
            y = self.norm(self.conv(y, f'{name}.conv3'), f'{name}.bn3')
        else:
            y = F.relu(self.norm(self.conv(x, f'{name}.conv1', stride, dilation, dilation), f'{name}.bn1'))
            y = self.norm(self.conv(y, f'{name}.conv2', padding=1), f'{name}.bn2')
        if f'{name}.downsample.0.weight' in self.state:
            x = self.norm(self.conv(x, f'{name}.downsample.0', stride), f'{name}.downsample.1')
        return y + x

    # -------------------------------------------------------------- guidance

    def reduction(self, stages, side: str, dropout: bool) -> Tensor:
        layer3 = stages['layer3']
        both = torch.cat([layer3, self.resize(stages['layer2'], layer3.shape[-2:])], 1)
        return F.dropout2d(F.relu(self.conv(both, f'decode_head.reduce_{side}.0')), 0.5, dropout)

    def prototype(self, reduced: Tensor, mask: Tensor) -> Tensor:
        mask = self.resize(mask, reduced.shape[-2:])
        return (reduced * mask).sum((2, 3), keepdim=True) / (mask.sum((2, 3), keepdim=True) + 0.0005)

    def attention(self, reduced: Tensor, mask: Tensor, dropout: bool) -> Tensor:
        mask = F.interpolate(mask, reduced.shape[-2:], mode='nearest')
        x = F.adaptive_avg_pool2d(reduced * mask, 1)
        x = self.conv(F.relu(self.conv(x, 'decode_head.attention.gate.0')), 'decode_head.attention.gate.2')
        return torch.sigmoid(F.dropout(x, 0.5, dropout)) * reduced

    def prior(self, query: Tensor, support: Tensor, mask: Tensor, size) -> Tensor:
        support = support * self.resize(mask, support.shape[-2:])
        q, s = query.flatten(2), support.flatten(2)  # (B, C, hw)
        cosine = q.transpose(1, 2) @ s / (q.norm(dim=1)[:, :, None] * s.norm(dim=1)[:, None, :] + 1e-7)
        best = cosine.max(2).values  # (B, hw)
        low, high = best.min(1, keepdim=True).values, best.max(1, keepdim=True).values
        best = (best - low) / (high - low + 1e-7)
        return self.resize(best.view(-1, 1, *query.shape[-2:]), size)

    def similarity(self, query: list[Tensor], support: list[Tensor], mask: Tensor, path) -> list[Tensor]:
        for size in path:
            mask = self.resize(mask, size)
        maps = []
        for q, s in zip(query, support, strict=True):
            if mask.shape[-2:] != s.shape[-2:]:
                mask = self.resize(mask, s.shape[-2:])
            maps.append(torch.stack([self.block_map(*one) for one in zip(q, s, mask, strict=True)]))
        return maps  # of (B, 1, h, w)

    @staticmethod
    def block_map(query: Tensor, support: Tensor, mask: Tensor) -> Tensor:
        """(C, h, w), (C, h, w), (1, h, w) -> (1, h, w)."""
        values = mask.flatten()
        if not (values > 0).any():
            return torch.zeros_like(query[:1])
        kept = support.flatten(1)[:, (values > 0) & (values >= values[values > 0].mean())]
        kept = kept / (kept.norm(dim=0) + 1e-5)
        q = query.flatten(1)
        q = q / (q.norm(dim=0) + 1e-5)
        return (q.T @ kept).clamp(min=0).mean(1).view(1, *query.shape[-2:])

    @staticmethod
    def gram(x: Tensor) -> Tensor:
        x = x.flatten(2)
        norm = x.norm(dim=2, keepdim=True)
        return x @ x.transpose(1, 2) / (norm @ norm.transpose(1, 2) + 1e-7)

    def shot_weights(self, difference: Tensor) -> Tensor:
        """(B, K, 1, 1) -> the same; the j-th weight is that of the j-th given shot, as released."""
        K, name = difference.shape[1], 'decode_head.shot_weighting.layers'
        if K == 1 or self.state.get(f'{name}.0.weight', torch.empty(0, 0)).shape[1] != K:
            return torch.full_like(difference, 1 / K)
        x = F.relu(self.conv(difference.sort(1).values, f'{name}.0'))
        return self.conv(x, f'{name}.2').softmax(1)

    # -------------------------------------------------------------- decoder, base learner, ensemble

    def decoder(self, merged: Tensor, dropout: bool) -> Tensor:
        name = 'decode_head.decoder'
        x = F.relu(self.conv(merged, 'decode_head.merge.0'))
        branches = [F.relu(self.conv(F.adaptive_avg_pool2d(x, 1), f'{name}.aspp.branches.0.0')).expand_as(x)]
        branches.append(F.relu(self.conv(x, f'{name}.aspp.branches.1.0')))
        for i, d in enumerate(self.dilations):
            branches.append(F.relu(self.conv(x, f'{name}.aspp.branches.{i + 2}.0', 1, d, d)))
        x = F.relu(self.conv(torch.cat(branches, 1), f'{name}.reduce.0'))
        y = F.relu(self.conv(x, f'{name}.refine.0', padding=1))
        x = x + F.relu(self.conv(y, f'{name}.refine.2', padding=1))
        x = F.relu(self.conv(x, f'{name}.classify.0', padding=1))
        return self.conv(F.dropout2d(x, 0.1, dropout), f'{name}.classify.3')

    def base_learner(self, layer4: Tensor) -> Tensor:
        with torch.no_grad():
            parts = [layer4]
            for i, side in enumerate(self.bins):
                name = f'base_head.psp_modules.{i}.1'
                pooled = F.adaptive_avg_pool2d(layer4, side)
                pooled = F.relu(self.norm(self.conv(pooled, f'{name}.conv'), f'{name}.bn'))
                parts.append(self.resize(pooled, layer4.shape[-2:]))
            x = self.conv(torch.cat(parts, 1), 'base_head.bottleneck.conv', padding=1)
            return self.conv(F.relu(self.norm(x, 'base_head.bottleneck.bn')), 'base_head.conv_seg')

    def ensemble(self, meta: Tensor, base: Tensor, psi: Tensor, own_class: Tensor | None) -> Tensor:
        background, own = meta.softmax(1).split(1, 1)
        base = base.softmax(1)
        if own_class is not None:  # left out in training; -1 for none
            index = torch.arange(base.shape[1], device=base.device)
            base = base * (index != own_class[:, None] + 1)[:, :, None, None]
        psi = psi.expand_as(own)
        background = self.conv(torch.cat([background, psi], 1), 'merge_adjustment')
        own = self.conv(torch.cat([own, psi], 1), 'merge_adjustment')
        base = self.resize(base[:, 1:].sum(1, True), own.shape[-2:])
        return torch.cat([self.conv(torch.cat([background, base], 1), 'merge_base'), own], 1)

    # -------------------------------------------------------------- the whole

    def __call__(
        self, query: Tensor, support: Tensor, support_mask: Tensor, own_class: Tensor | None = None, dropout=False
    ) -> dict[str, Tensor]:
        """(B, 3, H, W), (B, K, 3, H, W), (B, K, H, W) -> final, meta, base (B, channels, H, W)."""
        K, size = support.shape[1], query.shape[-2:]
        stages, blocks, path = self.backbone(query)
        reduced = self.reduction(stages, 'query', dropout)
        gram = self.gram(stages['layer2'])
        prototypes, attention, priors, differences, similarity = [], 0, [], [], None
        for k in range(K):
            mask = (support_mask[:, k : k + 1] == 1).float()
            own_stages, own_blocks, _ = self.backbone(support[:, k])
            own_reduced = self.reduction(own_stages, 'support', dropout)
            prototypes.append(self.prototype(own_reduced, mask))
            attention = attention + self.attention(own_reduced, mask, dropout) / K
            priors.append(self.prior(stages['layer4'], own_stages['layer4'], mask, reduced.shape[-2:]))
            maps = self.similarity(blocks, own_blocks, mask, path)
            similarity = maps if similarity is None else [a + b for a, b in zip(similarity, maps, strict=True)]
            change = (gram - self.gram(own_stages['layer2'])).flatten(1).norm(dim=1)
            differences.append(change.view(-1, 1, 1, 1) / gram.shape[-1])
        difference = torch.cat(differences, 1)
        weights = self.shot_weights(difference)
        prototype = sum(weights[:, k : k + 1] * prototypes[k] for k in range(K)).expand_as(reduced)
        prior = sum(weights[:, k : k + 1] * priors[k] for k in range(K))
        similar = torch.cat([self.resize(m / K, reduced.shape[-2:]) for m in similarity], 1)
        similar = F.relu(self.norm(self.conv(similar, 'decode_head.squeeze.0'), 'decode_head.squeeze.1'))
        meta = self.decoder(torch.cat([reduced, prototype, similar, prior, attention], 1), dropout)
        base = self.base_learner(stages['layer4'])
        final = self.ensemble(meta, base, (weights * difference).sum(1, True), own_class)
        return {name: self.resize(x, size) for name, x in dict(final=final, meta=meta, base=base).items()}

    def loss(self, scores: Mapping[str, Tensor], labels: Tensor, base_labels: Tensor) -> Tensor:
        """Of (B, channels, H, W) and labels (B, H, W): final, meta and base alike."""
        targets = dict(final=labels, meta=labels, base=base_labels)
        return sum(F.cross_entropy(scores[name], target, ignore_index=255) for name, target in targets.items())
