# RePRI: sampled as bam, one size for both data sets, judged at that size; a class that is never drawn is left out.
# 5 runs of 1,000 episodes, the same ones as bam's.
test_protocol = dict(
    name='repri',
    sampling=dict(type='RepriProtocol', runs=5, episodes=1000, seed=123),
    geometry=dict(type='ResizeLongSide', size=417),
    ground_truth='network',  # the query's mask is resized with the image, nearest
    support_ignore='ignore',
    datasets=dict(COCO20iDataset=dict(requires=dict(scheme='fwb'))),
)
