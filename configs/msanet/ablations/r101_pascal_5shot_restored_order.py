# Each K-shot weight goes to the shot it was computed from, as the released code meant to do.
_base_ = '../r101_pascal_5shot.py'
work_dir = f'{_base_.work_root}/msanet/ablations/r101_pascal_5shot_restored_order/fold{_base_.fold}'

model = dict(decode_head=dict(shot_weighting=dict(restore_order=True)))
