# Table 3 of the paper: without attention.
_base_ = '../r101_pascal_1shot.py'
work_dir = f'{_base_.work_root}/msanet/ablations/r101_pascal_1shot_no_attention/{_base_.run_name}'

model = dict(decode_head=dict(parts=('prototype', 'similarity', 'prior')))
