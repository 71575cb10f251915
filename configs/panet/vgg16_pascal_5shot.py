# PANet, VGG16, PASCAL-5i, 5-shot: trained with five supports too.
_base_ = './vgg16_pascal_1shot.py'
shots = 5
work_dir = f'{_base_.work_root}/panet/vgg16_pascal_{shots}shot/fold{_base_.fold}'
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(shots=shots))
