# The training-free prior mask on COCO-20i: ResNet-50. --shots K, --fold N.
_base_ = '../prototype/r50_coco.py'
work_dir = f'{_base_.work_root}/prior_mask/r50_coco/{_base_.run_name}'
model = dict(decode_head=dict(type='PriorMaskHead', threshold=0.5))
