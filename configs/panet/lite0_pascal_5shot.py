# PANet on PASCAL-5i for machines without a GPU, 5-shot: test the 1-shot weights.
_base_ = './lite0_pascal_1shot.py'
shots = 5
work_dir = f'{_base_.work_root}/panet/lite0_pascal_{shots}shot/fold{_base_.fold}'
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(shots=shots))
