# PrototypeResidualHead on PASCAL-5i for machines without a GPU: EfficientNet-Lite0, 257x257 images. One training serves
# every number of supports: --shots K.
_base_ = [
    '../_base_/models/prototype_residual_lite0.py',
    '../_base_/datasets/pascal5i_lite_episodes.py',
    '../_base_/schedules/lite_meta.py',
    '../_base_/default_runtime.py',
]
work_dir = f'{_base_.work_root}/prototype_residual/lite0_pascal_1shot/{_base_.run_name}'

# Images are squashed to a square: no part of the input is padding (docs/own_images.md).
size = _base_.size
load = [dict(type='LoadFewShotImage')]
squashed_test = dict(
    query_pipeline=[
        *load,
        dict(type='SquashResize', size=size),
        dict(type='LoadFewShotAnnotations'),
        dict(type='PackEpisodeInputs'),
    ],
    support_pipeline=[
        *load,
        dict(type='LoadFewShotAnnotations'),
        dict(type='SquashResize', size=size),
        dict(type='PackEpisodeInputs'),
    ],
)
val_dataloader = dict(dataset=squashed_test)
test_dataloader = dict(dataset=squashed_test)
