# VAT: as hsnet, at 473 pixels (COCO 417), sampled by OpenCV without antialiasing.
_base_ = './hsnet.py'
test_protocol = dict(
    name='vat',
    geometry=dict(size=473, antialias=False),
    datasets=dict(COCO20iDataset=dict(geometry=dict(size=417))),
)
