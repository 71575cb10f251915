# HSNet (DCAMA at 384, VAT as vat.py): images squashed to a square, scored at that size; supports may repeat.
# The family trains with images that hold novel classes too: `exclude_novel=False` of the training data.
test_protocol = dict(
    name='hsnet',
    sampling=dict(type='HsnetProtocol', order='list', runs=1, episodes=1000, seed=0),
    geometry=dict(type='SquashResize', size=400, antialias=True),
    ground_truth='network',  # the query's mask is resized with the image, nearest
    support_ignore='background',  # 255 in a support counts as background
    datasets=dict(
        COCO20iDataset=dict(requires=dict(scheme='fwb'), sampling=dict(order='class')),
        FSS1000Dataset=dict(sampling=dict(episodes=2400)),  # every test image once
    ),
)
