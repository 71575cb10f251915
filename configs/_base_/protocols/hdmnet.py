# HDMNet: as bam, but ten runs, of 10,000 episodes on COCO, at 633 pixels there.
test_protocol = dict(
    name='hdmnet',
    sampling=dict(type='HdmnetProtocol', runs=10, episodes=1000, seed=123),
    geometry=dict(type='ResizeLongSide', size=473),
    ground_truth='original',
    support_ignore='ignore',
    datasets=dict(
        COCO20iDataset=dict(requires=dict(scheme='fwb'), sampling=dict(episodes=10000), geometry=dict(size=633))
    ),
)
