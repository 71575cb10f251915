# What PANet's episodes of every data set share: any image that shows a class is a candidate, training and test images
# are the same list, images are squashed, one episode a step. The data set's own file adds the images.
fold = int('{{$FOLD:0}}')  # --fold
shots = int('{{$SHOTS:1}}')  # --shots
run_name = f'fold{fold}' if shots == 1 else f'fold{fold}_{shots}shot'  # last part of the work dir
candidate_area = int('{{$MMFSS_CANDIDATE_AREA:1}}')  # pixels of a class that make an image a candidate

size = 417  # side of the network's input
train_steps = [
    dict(type='SquashResize', size=size),
    dict(type='mmseg.RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackEpisodeInputs'),
]
train_pipeline = [dict(type='LoadFewShotImage'), dict(type='LoadFewShotAnnotations'), *train_steps]
test_pipelines = dict(
    # The query is scored at the network's size: its annotation is resized with it.
    query_pipeline=[
        dict(type='LoadFewShotImage'),
        dict(type='LoadFewShotAnnotations'),
        dict(type='SquashResize', size=size),
        dict(type='ScoreAtNetworkSize'),
        dict(type='PackEpisodeInputs'),
    ],
    support_pipeline=[
        dict(type='LoadFewShotImage'),
        dict(type='LoadFewShotAnnotations'),
        dict(type='SquashResize', size=size),
        dict(type='PackEpisodeInputs'),
    ],
)

total_batch_size = 1  # episodes a step over all processes
train_dataloader = dict(
    batch_size=total_batch_size,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='EpisodicDataset',
        shots=shots,
        class_power=0.0,  # every class equally often
        dataset=dict(phase='train', fold=fold, candidate_area=candidate_area, exclude_novel=False),
        query_pipeline=train_pipeline,
        support_pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='RevisitSampler'),
    dataset=dict(
        type='EpisodicDataset',
        shots=shots,
        dataset=dict(phase='val', fold=fold, candidate_area=candidate_area),
        protocol=dict(type='PanetProtocol', runs=1, episodes=1000, seed=1234),
        **test_pipelines,
    ),
)
test_dataloader = dict(val_dataloader, persistent_workers=False)
test_dataloader['dataset'] = dict(
    val_dataloader['dataset'],
    protocol=dict(type='PanetProtocol', runs=5, episodes=1000, seed=1234),
    support_control=None,  # 'wrong_novel' or 'base': supports of a wrong class
    episodes_file=None,  # a frozen list instead of the protocol's draws
)

val_evaluator = dict(type='FewShotIoUMetric')
test_evaluator = dict(type='FewShotIoUMetric')
