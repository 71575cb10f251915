# BAM, VGG16-BN, COCO-20i, 1-shot.
_base_ = [
    '../_base_/models/bam_vgg16.py',
    '../_base_/datasets/coco20i_episodes.py',
    '../_base_/schedules/coco_meta.py',
    '../_base_/default_runtime.py',
]
work_dir = f'{_base_.work_root}/bam/vgg16_coco_1shot/{_base_.run_name}'

base_learner = dict(
    config='configs/pspnet/vgg16_coco.py',
    checkpoint=f'{_base_.work_root}/pspnet/vgg16_coco/fold{_base_.fold}/base_learner.pth',
)
model = dict(base_head=dict(num_classes=61), base_checkpoint=base_learner['checkpoint'])
