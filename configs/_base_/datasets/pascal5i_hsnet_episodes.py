# PASCAL-5i as HSNet trains: VOC and all of SBD, every (image, class) pair once an epoch.
_base_ = ['./pascal5i.py', './hsnet_episodes.py']

# 10,582 images, of which tools/dataset_converters/pascal5i.py writes the list too.
train_list = '{{$MMFSS_TRAIN_LIST:ImageSets/Segmentation/trainaug.txt}}'

train_data = dict(_base_.train_data, ann_file=train_list)
train_dataloader = dict(dataset=dict(every_pair=True, dataset=train_data))
val_dataloader = test_dataloader = dict(dataset=dict(dataset=_base_.val_data))
