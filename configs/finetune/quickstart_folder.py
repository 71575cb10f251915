# As lite0_folder.py, from the meta learner that `make quickstart` leaves: no photo was ever needed to train it.
_base_ = './lite0_folder.py'
load_from = 'work_dirs/quickstart/seed0/msanet_shapes_1shot/fold0/meta_learner.pth'
work_dir = f'{_base_.work_root}/finetune/quickstart_folder/{_base_.run_name}'
model = dict(decode_head=dict(channels=96, similarity_channels=32, dilations=(2, 4, 6)))
