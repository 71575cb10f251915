# BAM on PASCAL-5i for machines without a GPU, 5-shot: run configs/bam/lite0_pascal_1shot.py for the fold first.
_base_ = '../msanet/lite0_pascal_5shot.py'
work_dir = f'{_base_.work_root}/bam/lite0_pascal_5shot/fold{_base_.fold}'
load_from = f'{_base_.work_root}/bam/lite0_pascal_1shot/fold{_base_.fold}/meta_learner.pth'
model = dict(decode_head=dict(type='BAMHead'))
