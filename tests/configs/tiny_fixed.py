# tiny_ranks.py on fixed training episodes and without dropout: only the division of a step into batches differs.
_base_ = './tiny_ranks.py'

custom_hooks = [dict(type='RankDumpHook'), dict(type='NoDropoutHook')]
work_dir = f'{_base_.work_root}/tiny_fixed/{_base_.run_name}'

total_batch_size = 8
train_dataloader = dict(
    batch_size=8,
    drop_last=True,
    sampler=dict(shuffle=False),
    dataset=dict(
        protocol=dict(type='BalancedProtocol', runs=1, episodes=32, seed=0),
        query_pipeline=[
            dict(type='LoadFewShotImage'),
            dict(type='LoadFewShotAnnotations', with_base=True),
            dict(type='PackEpisodeInputs'),
        ],
    ),
)
# Without a schedule, whose last value depends on the number of batches; 0.01 for a step of 4, 0.02 for 8.
param_scheduler = []
optim_wrapper = dict(
    _delete_=True, type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4)
)
auto_scale_lr = dict(enable=True, base_batch_size=4)
