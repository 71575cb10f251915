# The base learner on ResNet-50: PSPNet with its deep stem, output stride 8, no auxiliary head.
# tools/model_converters/pspnet_init2mmfss.py writes the ImageNet weights it starts from.
_base_ = './r50_backbone.py'

work_root = '{{$MMFSS_WORK_ROOT:work_dirs}}'  # --work-root
pretrained_root = '{{$MMFSS_PRETRAINED:pretrained}}'  # where the converters put ImageNet weights

model = dict(
    type='mmseg.EncoderDecoder',
    data_preprocessor=dict(
        type='mmseg.SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(417, 417),
    ),
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=f'{pretrained_root}/resnet50_v2.pth')),
    decode_head=dict(
        type='mmseg.PSPHead',
        in_channels=2048,
        channels=512,
        num_classes=16,  # background and the fold's base classes; COCO-20i has 61
        norm_cfg=dict(type='BN'),
        align_corners=True,
        loss_decode=dict(type='mmseg.CrossEntropyLoss', avg_non_ignore=True),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)

# BatchNorm learns here: its statistics are those of the whole batch, over all processes.
sync_bn = 'torch'
