# Your own 20 to 50 masks: a trained meta learner goes on with the classes that you want. See docs/finetuning.md.
_base_ = ['../_base_/models/lite0_backbone.py', '../_base_/default_runtime.py']
fold = int('{{$FOLD:0}}')  # --fold: which meta learner to start from
shots = int('{{$SHOTS:1}}')  # --shots
run_name = f'fold{fold}' if shots == 1 else f'fold{fold}_{shots}shot'
data_root = '{{$MMFSS_DATA_ROOT:data/mine}}'  # --data-root: CLASS/K.jpg with CLASS/K.png, black and white
# A number: the first so many images of every class. A file below data_root: it names them, CLASS/K a line.
train_images = '{{$MMFSS_TRAIN_IMAGES:5}}'
train_images = int(train_images) if train_images.isdigit() else train_images

load_from = f'{_base_.work_root}/msanet/lite0_pascal_1shot/fold{fold}/meta_learner.pth'
work_dir = f'{_base_.work_root}/finetune/lite0_folder/{run_name}'

size = 257
protocol_size = size  # protocols (--protocol) keep it
image_mean = (127.0, 127.0, 127.0)  # BGR; fills what rotation and crop leave empty
load_annotated = [dict(type='LoadFewShotImage'), dict(type='LoadFewShotAnnotations')]
train_pipeline = [
    *load_annotated,
    dict(type='RandomScale', ratio_range=(0.8, 1.25)),
    dict(type='mmseg.RandomRotate', prob=0.5, degree=10, pad_val=image_mean, seg_pad_val=255),
    dict(type='RandomGaussianBlur', prob=0.5, kernel=5),
    dict(type='mmseg.RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ForegroundCrop', crop_size=size, keep=0.85, pad_val=image_mean),
    dict(type='PackEpisodeInputs'),
]
source = dict(type='DividedFolderDataset', data_root=data_root, train_images=train_images)
total_batch_size = 4  # of one step, divided among the processes
train_dataloader = dict(
    batch_size=total_batch_size,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='EpisodicDataset',
        shots=shots,
        dataset=dict(phase='train', **source),
        query_pipeline=train_pipeline,
        support_pipeline=train_pipeline,
    ),
)
# Queries are the other images, supports the training images. Nothing is chosen by them: the last weights count.
test_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type='RevisitSampler'),
    dataset=dict(
        type='EpisodicDataset',
        shots=shots,
        dataset=dict(phase='val', **source),
        protocol=dict(type='BalancedProtocol', runs=3, episodes=200, seed=0),
        query_pipeline=[
            dict(type='LoadFewShotImage'),
            dict(type='ResizeLongSide', size=size),
            dict(type='LoadFewShotAnnotations'),
            dict(type='PackEpisodeInputs'),
        ],
        support_pipeline=[*load_annotated, dict(type='ResizeLongSide', size=size), dict(type='PackEpisodeInputs')],
    ),
)
test_evaluator = dict(type='FewShotIoUMetric')

model = dict(
    type='FewShotSegmentor',  # without the base learner, which calls your classes by names of its own
    data_preprocessor=dict(type='EpisodeDataPreProcessor', **_base_.preprocessing),
    # All weights come from load_from.
    backbone=dict(_base_.backbone, backbone=dict(_base_.backbone.backbone, init_cfg=None)),
    decode_head=dict(type='MSANetHead', channels=128),
    comparison_heads=dict(prototype=dict(type='PrototypeHead')),  # a floor that needs no training
)

max_iters = 200
# Bfloat16 where the device computes in it, else float32.
optim_wrapper = dict(type='BFloat16OptimWrapper', optimizer=dict(type='AdamW', lr=6e-4, weight_decay=1e-4))
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=max_iters, by_epoch=False)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters)
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=total_batch_size)
default_hooks = dict(
    logger=dict(interval=20, log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=50, save_best=None),
    # The meta learner was trained on other classes, and its base learner is not used.
    checkpoint_guard=dict(check_classes=False, ignore=[r'base_head\.', r'merge_(adjustment|base)\.']),
)
log_processor = dict(by_epoch=False)
