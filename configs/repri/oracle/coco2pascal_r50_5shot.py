# RePRI, ResNet-50, COCO-20i to PASCAL, 5-shot, told the true share of foreground: the row "Oracle", no method.
_base_ = '../coco2pascal/r50_5shot.py'
work_dir = f'{_base_.work_root}/repri/oracle/coco2pascal_r50_5shot/fold{_base_.fold}'
model = dict(
    data_preprocessor=dict(query_labels=True),
    decode_head=dict(
        valid='truth',
        oracle=True,
        recipe=dict(iterations=300, proportion_weight=1.0, entropy_weight=0.1),
    ),
)
