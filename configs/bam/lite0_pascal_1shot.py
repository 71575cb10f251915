# BAM on PASCAL-5i for machines without a GPU: MSANet's preset with BAM's head.
_base_ = '../msanet/lite0_pascal_1shot.py'
work_dir = f'{_base_.work_root}/bam/lite0_pascal_1shot/{_base_.run_name}'
model = dict(decode_head=dict(type='BAMHead'))
