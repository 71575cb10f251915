# PANet: 5 runs of 1,000 episodes of 1 or more classes a query, of the images of the training list (trainaug of PASCAL,
# train2014 of COCO, as configs/panet name them): a class is drawn uniformly, then its images. Scored at 417x417.
test_protocol = dict(
    name='panet',
    sampling=dict(type='PanetProtocol', runs=5, episodes=1000, seed=1234),
    geometry=dict(type='SquashResize', size=417),
    ground_truth='network',  # the query's mask is resized with the image, nearest
    support_ignore='background',  # 255 in a support counts as background
    datasets=dict(COCO20iDataset=dict(requires=dict(scheme='panet'))),
)
