# VAT on ResNet-101: HSNet's backbone.
_base_ = './hsnet_r101.py'

model = dict(decode_head=dict(_delete_=True, type='VATHead'))
