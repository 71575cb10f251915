# Figure 6 of the paper: only the blocks of layer2 are compared.
_base_ = '../r101_pascal_1shot.py'
work_dir = f'{_base_.work_root}/msanet/ablations/r101_pascal_1shot_blocks2/{_base_.run_name}'

model = dict(decode_head=dict(block_groups=(2,)))
