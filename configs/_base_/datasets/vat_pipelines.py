# How VAT loads images: seven changes of colour in training, squashed without antialiasing, scored as the network sees
# them. 255 in a support is background.
vat_size = 473  # side of the network's input
vat_load = [dict(type='LoadFewShotImage', to_float32=False), dict(type='LoadFewShotAnnotations')]
vat_load_support = [vat_load[0], dict(type='LoadFewShotAnnotations', keep_ignore=False)]
vat_squash = dict(type='SquashResize', size=vat_size)

vat_train_pipelines = dict(
    query_pipeline=[*vat_load, dict(type='RandomPhotometry'), vat_squash, dict(type='PackEpisodeInputs')],
    support_pipeline=[*vat_load_support, dict(type='RandomPhotometry'), vat_squash, dict(type='PackEpisodeInputs')],
)
vat_test_pipelines = dict(
    query_pipeline=[*vat_load, vat_squash, dict(type='ScoreAtNetworkSize'), dict(type='PackEpisodeInputs')],
    support_pipeline=[*vat_load_support, vat_squash, dict(type='PackEpisodeInputs')],
)
