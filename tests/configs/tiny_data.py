# Pascal5iDataset at 64x64 pixels: what both tiny stages and their tests share.
fold = int('{{$FOLD:0}}')
data_root = '{{$MMFSS_DATA_ROOT:data/tiny}}'
candidate_area = int('{{$MMFSS_CANDIDATE_AREA:100}}')
work_root = '{{$MMFSS_WORK_ROOT:work_dirs}}'

source = dict(
    type='Pascal5iDataset',
    data_root=data_root,
    ann_file='ImageSets/Segmentation/trainaug.txt',
    fold=fold,
    candidate_area=candidate_area,
    index_workers=1,
)

# ImageNet's statistics, RGB
normalization = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)

backbone = dict(
    type='BlockResNet',
    depth=18,
    base_channels=8,
    stem_channels=8,
    strides=(1, 2, 1, 1),
    dilations=(1, 1, 2, 4),
    norm_eval=False,
)

base_head = dict(
    type='mmseg.PSPHead',
    in_channels=64,
    in_index=-1,
    channels=16,
    pool_scales=(1, 2),
    dropout_ratio=0.1,
    num_classes=16,
    align_corners=True,
    norm_cfg=dict(type='BN'),
    loss_decode=dict(type='mmseg.CrossEntropyLoss', avg_non_ignore=True),
)
