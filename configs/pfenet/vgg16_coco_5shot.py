# PFENet, VGG16-BN, COCO-20i, 5-shot: a test of the 1-shot weights, as published.
_base_ = './vgg16_coco_1shot.py'
shots = 5
val_dataloader = test_dataloader = dict(dataset=dict(shots=shots))
