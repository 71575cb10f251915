# COCO-20i (FWB folds) as HSNet trains: a class uniformly, then two of its images, as often as there are images.
_base_ = ['./coco20i.py', './hsnet_episodes.py']

total_batch_size = 40  # over all processes
train_dataloader = dict(
    batch_size=total_batch_size,
    dataset=dict(class_power=0.0, dataset=_base_.train_data),
)
val_dataloader = test_dataloader = dict(dataset=dict(dataset=_base_.val_data, protocol=dict(order='class')))
