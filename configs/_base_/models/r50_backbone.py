# ResNet-50 with PSPNet's deep stem, output stride 8: for both stages, and for methods without a base learner.
model = dict(
    backbone=dict(
        type='BlockResNet',
        depth=50,
        deep_stem=True,
        stem_channels=128,
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
    ),
)
