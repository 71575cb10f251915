# PFENet on PASCAL-5i for machines without a GPU, 5-shot: a test of the 1-shot weights.
_base_ = './lite0_pascal_1shot.py'
shots = 5
val_dataloader = test_dataloader = dict(dataset=dict(shots=shots))
