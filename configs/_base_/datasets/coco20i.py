# COCO-20i (FWB folds): where the images are, for both stages.
data_root = '{{$MMFSS_DATA_ROOT:data/coco}}'  # --data-root

train_data = val_data = dict(type='COCO20iDataset', data_root=data_root)
