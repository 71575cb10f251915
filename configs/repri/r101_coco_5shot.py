# RePRI, ResNet-101, COCO-20i, 5-shot: the same base learner.
_base_ = './r101_coco_1shot.py'
shots = 5
work_dir = f'{_base_.work_root}/repri/r101_coco_{shots}shot/fold{_base_.fold}'
test_dataloader = dict(dataset=dict(shots=shots))
