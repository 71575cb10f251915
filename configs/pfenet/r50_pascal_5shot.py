# PFENet, ResNet-50, PASCAL-5i, 5-shot: a test of the 1-shot weights, as published.
_base_ = './r50_pascal_1shot.py'
shots = 5
val_dataloader = test_dataloader = dict(dataset=dict(shots=shots))
