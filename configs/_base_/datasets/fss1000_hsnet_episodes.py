# FSS-1000 as HSNet trains: every image once an epoch, 520 classes for training, 240 for validation, 240 for the test.
_base_ = './hsnet_episodes.py'

data_root = '{{$MMFSS_DATA_ROOT:data/fss1000}}'  # --data-root
data = dict(type='FSS1000Dataset', data_root=data_root, candidate_area=1)

train_dataloader = dict(dataset=dict(every_pair=True, dataset=data))
val_dataloader = dict(dataset=dict(dataset=dict(data, eval_split='val'), protocol=dict(episodes=2400)))
test_dataloader = dict(dataset=dict(dataset=dict(data, eval_split='test'), protocol=dict(episodes=2400)))
