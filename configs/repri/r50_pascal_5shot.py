# RePRI, ResNet-50, PASCAL-5i, 5-shot: the same base learner.
_base_ = './r50_pascal_1shot.py'
shots = 5
work_dir = f'{_base_.work_root}/repri/r50_pascal_{shots}shot/fold{_base_.fold}'
test_dataloader = dict(dataset=dict(shots=shots))
