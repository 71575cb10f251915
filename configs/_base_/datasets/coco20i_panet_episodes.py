# COCO-20i as PANet uses it: twenty consecutive classes a fold, the images of train2014 for training and for testing.
_base_ = './panet_episodes.py'

data_root = '{{$MMFSS_DATA_ROOT:data/coco}}'  # --data-root
images = dict(
    type='COCO20iDataset',
    scheme='panet',
    data_root=data_root,
    data_prefix=dict(img_path='train2014', seg_map_path='annotations/train2014'),
)

train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(dataset=images))
