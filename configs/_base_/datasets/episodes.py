# What the episodes (stage 2) of every data set share: how MSANet and BAM train and test. The data set's own file
# (pascal5i_episodes.py, coco20i_episodes.py) adds the images and the pipelines.
fold = int('{{$FOLD:0}}')  # --fold
shots = int('{{$SHOTS:1}}')  # --shots
run_name = f'fold{fold}' if shots == 1 else f'fold{fold}_{shots}shot'  # last part of the work dir
# An image is a candidate of a class that covers at least so many pixels: --candidate-area
candidate_area = int('{{$MMFSS_CANDIDATE_AREA:2048}}')

# Episodes a step over all processes: tools/train.py divides them, 8 processes get 1 each.
total_batch_size = 8
train_dataloader = dict(
    batch_size=total_batch_size,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='EpisodicDataset',
        shots=shots,
        dataset=dict(phase='train', fold=fold, candidate_area=candidate_area),
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
        protocol=dict(type='BamProtocol', runs=1, episodes=1000, seed=123),
    ),
)
test_dataloader = dict(val_dataloader, persistent_workers=False)
test_dataloader['dataset'] = dict(
    val_dataloader['dataset'],
    protocol=dict(type='BamProtocol', runs=5, episodes=1000, seed=123),
    support_control=None,  # 'wrong_novel' or 'base': supports of a wrong class
    episodes_file=None,  # a frozen list instead of the protocol's draws
)

val_evaluator = dict(type='FewShotIoUMetric')
test_evaluator = dict(type='FewShotIoUMetric')
