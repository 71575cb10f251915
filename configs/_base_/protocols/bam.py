# BAM and MSANet, the numbers of the papers: the image list in order, a class of the query at random.
# 5 runs of 1,000 episodes; a class that is never drawn counts 0 (on COCO that happens).
# One more line in `_base_`, or `tools/test.py --protocol bam`: see docs/protocols.md.
test_protocol = dict(
    name='bam',
    sampling=dict(type='BamProtocol', runs=5, episodes=1000, seed=123),
    geometry=dict(type='ResizeLongSide', size=473),  # keep the aspect, fill up to a square
    ground_truth='original',  # size at which scores are judged
    support_ignore='ignore',  # 255 in a support is neither foreground nor background
    # What differs on a data set and its subclasses; `requires`: arguments of it that the protocol is defined on.
    datasets=dict(COCO20iDataset=dict(requires=dict(scheme='fwb'), geometry=dict(size=641))),
)
