# CyCTR on PASCAL-5i: 200 epochs, 4 episodes a step on one GPU. Two optimisers step together: AdamW at a constant rate
# for the transformer, whose biases do not decay, and SGD, poly per iteration, for everything else. The released code
# writes 0.0025 for the latter and multiplies it by 15: 0.0375.
_base_ = './pascal_meta.py'

optim_wrapper = dict(
    constructor='ModuleOptimizers',
    optimizer=dict(lr=0.0375),
    modules=dict(
        transformer=dict(
            module='decode_head.transformer',
            optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-2),
            paramwise_cfg=dict(bias_decay_mult=0.0),
        )
    ),
)
param_scheduler = dict(
    _delete_=True,
    rest=[
        dict(
            type='PolyLR',
            power=0.9,
            eta_min=0.0,
            begin=0,
            end=_base_.max_epochs,
            by_epoch=True,
            convert_to_iter_based=True,
        )
    ],
    transformer=[],
)
train_cfg = dict(val_begin=41)  # the first fifth is not measured
auto_scale_lr = dict(base_batch_size=4)
