# The training-free prior mask on PASCAL-5i: EfficientNet-Lite0, 257x257 images. --shots K, --fold N.
_base_ = '../prototype/lite0_pascal.py'
work_dir = f'{_base_.work_root}/prior_mask/lite0_pascal/{_base_.run_name}'
model = dict(decode_head=dict(type='PriorMaskHead', threshold=0.5))
