# CyCTR, ResNet-101, PASCAL-5i, 5-shot: trained with five supports, as published.
_base_ = './r101_pascal_1shot.py'
shots = 5
work_dir = f'{_base_.work_root}/cyctr/r101_pascal_{shots}shot/fold{_base_.fold}'
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(shots=shots))
