# PANet, VGG16, COCO-20i (its own folds), 5-shot: trained with five supports too.
_base_ = './vgg16_coco_1shot.py'
shots = 5
work_dir = f'{_base_.work_root}/panet/vgg16_coco_{shots}shot/fold{_base_.fold}'
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(shots=shots))
