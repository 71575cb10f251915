# BAM, ResNet-50, COCO-20i, 5-shot: the weights of the shots are learnt for five.
_base_ = './r50_coco_1shot.py'
shots = 5
work_dir = f'{_base_.work_root}/bam/r50_coco_{shots}shot/fold{_base_.fold}'
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(shots=shots))
model = dict(decode_head=dict(shot_weighting=dict(shots=shots)))
