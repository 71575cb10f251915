# RePRI, ResNet-101, PASCAL-5i, 5-shot, told the true share of foreground: the row "Oracle" of its tables, no method.
_base_ = '../r101_pascal_5shot.py'
work_dir = f'{_base_.work_root}/repri/oracle/r101_pascal_5shot/fold{_base_.fold}'
model = dict(
    data_preprocessor=dict(query_labels=True),
    decode_head=dict(
        valid='truth',
        oracle=True,
        recipe=dict(iterations=300, proportion_weight=1.0, entropy_weight=0.1),
    ),
)
