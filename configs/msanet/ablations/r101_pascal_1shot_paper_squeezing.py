# The squeezing that the paper writes (Eq. 4) instead of the released one.
_base_ = '../r101_pascal_1shot.py'
work_dir = f'{_base_.work_root}/msanet/ablations/r101_pascal_1shot_paper_squeezing/{_base_.run_name}'

model = dict(decode_head=dict(squeezing='paper'))
