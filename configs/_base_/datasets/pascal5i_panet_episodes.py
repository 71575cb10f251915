# PASCAL-5i as PANet uses it: the images of trainaug (10,582) for training and for testing, VOC's val not at all.
_base_ = './panet_episodes.py'

data_root = '{{$MMFSS_DATA_ROOT:data/VOCdevkit/VOC2012}}'  # --data-root
train_list = '{{$MMFSS_TRAIN_LIST:ImageSets/Segmentation/trainaug.txt}}'
images = dict(type='Pascal5iDataset', data_root=data_root, ann_file=train_list)

train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(dataset=images))
