# VAT on ResNet-50: HSNet's backbone.
_base_ = './hsnet_r50.py'

model = dict(decode_head=dict(_delete_=True, type='VATHead'))
