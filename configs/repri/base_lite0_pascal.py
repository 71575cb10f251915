# Stage 1 of RePRI for machines without a GPU: EfficientNet-Lite0, frozen, 257x257; RePRI's data rules and loss.
_base_ = [
    '../_base_/models/lite0_backbone.py',
    '../_base_/datasets/pascal5i_repri_lite_base.py',
    '../_base_/schedules/lite_base.py',
    '../_base_/base_runtime.py',
]
work_dir = f'{_base_.work_root}/repri/base_lite0_pascal/fold{_base_.fold}'

model = dict(
    type='mmseg.EncoderDecoder',
    data_preprocessor=dict(
        type='mmseg.SegDataPreProcessor', pad_val=0, seg_pad_val=255, size=(257, 257), **_base_.preprocessing
    ),
    backbone=_base_.backbone,
    decode_head=dict(_base_.base_head, loss_decode=dict(type='SmoothedCrossEntropyLoss')),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
