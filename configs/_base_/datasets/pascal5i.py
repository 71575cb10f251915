# PASCAL-5i: where the images and their lists are, for both stages.
data_root = '{{$MMFSS_DATA_ROOT:data/VOCdevkit/VOC2012}}'  # --data-root
# The published list of 5,953 images: VOC2012's own 1,464 of train.txt and SBD's, without those of val.txt.
# tools/dataset_converters/pascal5i.py writes it.
train_list = '{{$MMFSS_TRAIN_LIST:ImageSets/Segmentation/train_5953.txt}}'
val_list = 'ImageSets/Segmentation/val.txt'

train_data = dict(type='Pascal5iDataset', data_root=data_root, ann_file=train_list)
val_data = dict(type='Pascal5iDataset', data_root=data_root, ann_file=val_list)
