# CyCTR: as bam, but one run of 1,000 (PASCAL) or 5,000 (COCO) episodes, and 473 pixels on COCO too.
# CyCTR trains with images that hold novel classes too: `exclude_novel=False` of the training data. Its COCO images are
# those of 2017: `year='2017'`.
test_protocol = dict(
    name='cyctr',
    sampling=dict(type='CyctrProtocol', runs=1, episodes=1000, seed=123),
    geometry=dict(type='ResizeLongSide', size=473),
    ground_truth='original',
    support_ignore='ignore',
    datasets=dict(COCO20iDataset=dict(requires=dict(scheme='fwb'), sampling=dict(episodes=5000, seed=321))),
)
