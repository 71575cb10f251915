# ASGNet: as pfenet, but 1,000 episodes on PASCAL.
# ASGNet trains with images that hold novel classes too: `exclude_novel=False` of the training data.
test_protocol = dict(
    name='asgnet',
    sampling=dict(type='AsgnetProtocol', runs=1, episodes=1000, seed=321),
    geometry=dict(type='ResizeLongSide', size=473),
    ground_truth='original',
    support_ignore='ignore',
    datasets=dict(
        COCO20iDataset=dict(requires=dict(scheme='fwb'), sampling=dict(episodes=20000), geometry=dict(size=641))
    ),
)
