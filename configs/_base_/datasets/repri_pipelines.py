# How RePRI loads images, at 417 pixels: two flips in the training of stage 1, everything else scored at the network's
# size.
repri_size = 417  # side of the network's input
repri_fit = dict(type='ResizeLongSide', size=repri_size)
repri_load_base = [dict(type='LoadFewShotImage'), dict(type='mmseg.LoadAnnotations')]
repri_load = [dict(type='LoadFewShotImage'), dict(type='LoadFewShotAnnotations')]

repri_base_train_pipeline = [
    *repri_load_base,
    dict(type='mmseg.RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='mmseg.RandomFlip', prob=0.5, direction='vertical'),
    repri_fit,
    dict(type='mmseg.PackSegInputs'),
]
repri_base_test_pipeline = [
    *repri_load_base,
    repri_fit,
    dict(type='ScoreAtNetworkSize'),
    dict(type='mmseg.PackSegInputs'),
]
repri_test_pipelines = dict(
    query_pipeline=[*repri_load, repri_fit, dict(type='ScoreAtNetworkSize'), dict(type='PackEpisodeInputs')],
    support_pipeline=[*repri_load, repri_fit, dict(type='PackEpisodeInputs')],
)
