# Ours: every class equally often, every candidate of a class equally often as its query. Geometry and truth as in bam.
# 5 runs of 1,000 episodes with mean, deviation and interval; a class without images is reported, not counted.
test_protocol = dict(
    name='balanced',
    sampling=dict(type='BalancedProtocol', runs=5, episodes=1000, seed=0),
    geometry=dict(type='ResizeLongSide', size=473),
    ground_truth='original',
    support_ignore='ignore',
    datasets=dict(COCO20iDataset=dict(geometry=dict(size=641))),
)
