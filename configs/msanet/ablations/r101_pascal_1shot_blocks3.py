# Figure 6 of the paper: only the blocks of layer3 are compared.
_base_ = '../r101_pascal_1shot.py'
work_dir = f'{_base_.work_root}/msanet/ablations/r101_pascal_1shot_blocks3/{_base_.run_name}'

model = dict(decode_head=dict(block_groups=(3,)))
