# PASCAL-5i: where the images and their lists are, for both stages.
data_root = '{{$MMFSS_DATA_ROOT:data/VOCdevkit/VOC2012}}'  # --data-root
# VOC2012's own train.txt holds 1,464 images; the published list of 5,953 adds SBD's.
train_list = '{{$MMFSS_TRAIN_LIST:ImageSets/Segmentation/train.txt}}'
val_list = 'ImageSets/Segmentation/val.txt'

train_data = dict(type='Pascal5iDataset', data_root=data_root, ann_file=train_list)
val_data = dict(type='Pascal5iDataset', data_root=data_root, ann_file=val_list)
