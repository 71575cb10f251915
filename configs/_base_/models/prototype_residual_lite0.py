# PrototypeResidualHead on EfficientNet-Lite0: five block features, and layer1 for the edges.
_base_ = './lite0_backbone.py'

model = dict(
    type='FewShotSegmentor',
    data_preprocessor=dict(type='EpisodeDataPreProcessor', **_base_.preprocessing),
    backbone=dict(
        _base_.backbone,
        out_indices=(-4, -3, -2, -1),
        # The last block of each group: blocks of the same width say nearly the same.
        blocks=(
            [r'timm_model\.blocks\.2\.1'],
            [r'timm_model\.blocks\.3\.2', r'timm_model\.blocks\.4\.2'],
            [r'timm_model\.blocks\.5\.3', r'timm_model\.blocks\.6\.0'],
        ),
    ),
    decode_head=dict(type='PrototypeResidualHead', appearance_channels=48),
    loss_decode=dict(type='WeightedCrossEntropyLoss', class_weight=(1.0, 2.5)),
    # The floor that it starts from, measured on the same episodes.
    comparison_heads=dict(prototype=dict(type='PrototypeHead')),
)
