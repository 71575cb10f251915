# Stage 1, the base learner of configs/msanet/lite0_pascal_*shot.py.
_base_ = [
    '../_base_/models/lite0_backbone.py',
    '../_base_/datasets/pascal5i_lite_base.py',
    '../_base_/schedules/lite_base.py',
    '../_base_/base_runtime.py',
]
work_dir = f'{_base_.work_root}/pspnet/lite0_pascal/fold{_base_.fold}'

model = dict(
    type='mmseg.EncoderDecoder',
    data_preprocessor=dict(
        type='mmseg.SegDataPreProcessor', pad_val=0, seg_pad_val=255, size=(257, 257), **_base_.preprocessing
    ),
    backbone=_base_.backbone,
    decode_head=_base_.base_head,
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
