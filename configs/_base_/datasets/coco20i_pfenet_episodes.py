# COCO-20i as PFENet trains: training images in which novel classes occur stay (as background).
_base_ = './coco20i_episodes.py'

train_dataloader = dict(dataset=dict(dataset=dict(exclude_novel=False)))
