# RePRI, ResNet-50, COCO-20i to PASCAL, 5-shot: the same base learner.
_base_ = './r50_1shot.py'
shots = 5
work_dir = f'{_base_.work_root}/repri/coco2pascal/r50_{shots}shot/fold{_base_.fold}'
test_dataloader = dict(dataset=dict(shots=shots))
