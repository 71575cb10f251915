# The training-free prior mask on PASCAL-5i: ResNet-50. --shots K, --fold N.
_base_ = '../prototype/r50_pascal.py'
work_dir = f'{_base_.work_root}/prior_mask/r50_pascal/{_base_.run_name}'
model = dict(decode_head=dict(type='PriorMaskHead', threshold=0.5))
