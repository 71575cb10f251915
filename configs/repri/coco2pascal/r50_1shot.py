# RePRI, ResNet-50, COCO-20i to PASCAL, 1-shot: the base learner of fold i of COCO-20i, tested on the classes of VOC
# 2012 that are not among its base classes. --data-root is VOC's. The released table of names has cat and car swapped
# and so tests one class of training each in folds 2 and 3; here the folds are those of the authors' figure.
_base_ = [
    '../../_base_/models/repri_r50.py',
    '../../_base_/datasets/pascal5i_repri_episodes.py',
    '../../_base_/protocols/repri.py',
    '../../_base_/default_runtime.py',
]
work_dir = f'{_base_.work_root}/repri/coco2pascal/r50_1shot/{_base_.run_name}'

novel_classes = (
    ('aeroplane', 'boat', 'chair', 'diningtable', 'dog', 'person'),
    ('bicycle', 'bus', 'horse', 'sofa'),
    ('bird', 'car', 'pottedplant', 'sheep', 'train', 'tvmonitor'),
    ('bottle', 'cat', 'cow', 'motorbike'),
)[_base_.fold]
test_dataloader = dict(dataset=dict(dataset=dict(novel_classes=novel_classes)))

# Stage 1 is trained on COCO, with COCO's data root: tools/train.py configs/repri/base_r50_coco.py --fold N.
model = dict(
    base_checkpoint=f'{_base_.work_root}/repri/base_r50_coco/fold{_base_.fold}/base_learner.pth',
    neck=dict(base_head=dict(num_classes=61)),
)
default_hooks = dict(checkpoint_guard=dict(check_classes=False))  # two data sets
