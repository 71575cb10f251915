# PASCAL-5i as PFENet trains: training images in which novel classes occur stay (as background), 4 episodes a step.
_base_ = './pascal5i_episodes.py'

total_batch_size = 4
train_dataloader = dict(batch_size=total_batch_size, dataset=dict(dataset=dict(exclude_novel=False)))
