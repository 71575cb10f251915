# VAT, ResNet-101, COCO-20i, 1-shot (not published).
_base_ = [
    '../_base_/models/vat_r101.py',
    '../_base_/datasets/coco20i_vat_episodes.py',
    '../_base_/schedules/coco_vat.py',
    '../_base_/protocols/vat.py',
    '../_base_/default_runtime.py',
]
work_dir = f'{_base_.work_root}/vat/r101_coco_1shot/{_base_.run_name}'
model = dict(decode_head=dict(appearance=('layer1',)))
