# Stage 2 of the tests with five supports.
_base_ = './tiny_1shot.py'

shots = 5
work_dir = f'{_base_.work_root}/tiny_{shots}shot/fold{_base_.fold}'

train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(shots=shots))
model = dict(decode_head=dict(shot_weighting=dict(shots=shots)))
