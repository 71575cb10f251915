# MSANet on PASCAL-5i for machines without a GPU, 5-shot.
_base_ = './lite0_pascal_1shot.py'
work_dir = f'{_base_.work_root}/msanet/lite0_pascal_5shot/fold{_base_.fold}'

shots = 5
train_dataloader = dict(dataset=dict(shots=shots))
val_dataloader = dict(dataset=dict(shots=shots))
test_dataloader = dict(dataset=dict(shots=shots))
model = dict(decode_head=dict(shot_weighting=dict(shots=shots)))
