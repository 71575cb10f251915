# VAT on PASCAL-5i for machines without a GPU: EfficientNet-Lite0 at its own strides, 257x257, volumes of half the
# sides, 64 channels. Nothing is augmented: training on stored features is the same as on images.
_base_ = [
    '../_base_/models/lite0_backbone.py',
    '../_base_/datasets/pascal5i_lite_hsnet_episodes.py',
    '../_base_/schedules/lite_meta.py',
    '../_base_/default_runtime.py',
]
work_dir = f'{_base_.work_root}/vat/lite0_pascal_1shot/{_base_.run_name}'
model = dict(
    type='FewShotSegmentor',
    data_preprocessor=dict(type='EpisodeDataPreProcessor', **_base_.preprocessing),
    # With layer1, whose last block the decoder reads; stages of 65x65, 33x33, 17x17 and 9x9.
    backbone=dict(
        _base_.backbone,
        backbone=dict(_base_.backbone.backbone, output_stride=32),
        out_indices=(-4, -3, -2, -1),
        blocks=([r'timm_model\.blocks\.1\.\d'], *_base_.backbone.blocks),
    ),
    decode_head=dict(type='VATHead', appearance=('layer3', 'layer2', 'layer1'), channels=64, side=64),
    # A head that saw few kinds of things takes unlike ones for background (docs/results.md): foreground counts more.
    loss_decode=dict(type='WeightedCrossEntropyLoss', class_weight=(1.0, 2.5)),
    # Floors that need no training, measured on the same episodes.
    comparison_heads=dict(prototype=dict(type='PrototypeHead'), prior=dict(type='PriorMaskHead', threshold=0.5)),
)
train_cfg = dict(feature_store=dict(folder=f'{_base_.work_root}/feature_store', views=1))
