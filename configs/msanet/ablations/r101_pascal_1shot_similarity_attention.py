# Table 3 of the paper: multi-similarity and attention only.
_base_ = '../r101_pascal_1shot.py'
work_dir = f'{_base_.work_root}/msanet/ablations/r101_pascal_1shot_similarity_attention/{_base_.run_name}'

model = dict(decode_head=dict(parts=('similarity', 'attention')))
