# RePRI, ResNet-50, COCO-20i, 1-shot.
_base_ = [
    '../_base_/models/repri_r50.py',
    '../_base_/datasets/coco20i_repri_episodes.py',
    '../_base_/protocols/repri.py',
    '../_base_/default_runtime.py',
]
work_dir = f'{_base_.work_root}/repri/r50_coco_1shot/{_base_.run_name}'

base_learner = dict(
    config='configs/repri/base_r50_coco.py',
    checkpoint=f'{_base_.work_root}/repri/base_r50_coco/fold{_base_.fold}/base_learner.pth',
)
model = dict(base_checkpoint=base_learner['checkpoint'], neck=dict(base_head=dict(num_classes=61)))
