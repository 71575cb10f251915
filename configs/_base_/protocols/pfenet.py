# PFENet: as bam, but one run of 5,000 (PASCAL) or 20,000 (COCO) episodes.
# PFENet trains with images that hold novel classes too: `exclude_novel=False` of the training data.
test_protocol = dict(
    name='pfenet',
    sampling=dict(type='PfenetProtocol', runs=1, episodes=5000, seed=321),
    geometry=dict(type='ResizeLongSide', size=473),
    ground_truth='original',
    support_ignore='ignore',
    datasets=dict(
        COCO20iDataset=dict(requires=dict(scheme='fwb'), sampling=dict(episodes=20000), geometry=dict(size=641))
    ),
)
