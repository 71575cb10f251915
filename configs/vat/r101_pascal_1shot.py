# VAT, ResNet-101, PASCAL-5i, 1-shot.
_base_ = [
    '../_base_/models/vat_r101.py',
    '../_base_/datasets/pascal5i_vat_episodes.py',
    '../_base_/schedules/pascal_vat.py',
    '../_base_/protocols/vat.py',
    '../_base_/default_runtime.py',
]
work_dir = f'{_base_.work_root}/vat/r101_pascal_1shot/{_base_.run_name}'
