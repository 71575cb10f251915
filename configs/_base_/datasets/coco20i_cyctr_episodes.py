# COCO-20i as CyCTR trains and tests: images of 2017 at 473 pixels, training images in which novel classes occur stay
# (as background), 8 episodes a step.
_base_ = './pascal5i_pfenet_episodes.py'

data_root = '{{$MMFSS_DATA_ROOT:data/coco}}'  # --data-root
coco = dict(type='COCO20iDataset', data_root=data_root, year='2017', ann_file='')

augmentation = [dict(type='RandomScale', ratio_range=(0.8, 1.25)), *_base_.augmentation[1:]]
load_query, load_support = _base_.train_pipelines.query_pipeline[:2], _base_.train_pipelines.support_pipeline[:2]

total_batch_size = 8
train_dataloader = dict(
    batch_size=total_batch_size,
    dataset=dict(
        query_pipeline=[*load_query, *augmentation], support_pipeline=[*load_support, *augmentation], dataset=coco
    ),
)
val_dataloader = dict(dataset=dict(dataset=coco, protocol=dict(episodes=5000, seed=321)))
test_dataloader = dict(dataset=dict(dataset=coco))
