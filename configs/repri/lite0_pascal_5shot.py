# RePRI on PASCAL-5i for machines without a GPU, 5-shot: the same base learner.
_base_ = './lite0_pascal_1shot.py'
shots = 5
work_dir = f'{_base_.work_root}/repri/lite0_pascal_{shots}shot/fold{_base_.fold}'
test_dataloader = dict(dataset=dict(shots=shots))
