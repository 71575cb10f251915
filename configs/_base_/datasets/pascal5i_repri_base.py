# PASCAL-5i, background and base classes of a fold (stage 1) as RePRI trains on them: images with a base class of
# the candidate's area, novel classes ignored, two flips and no other augmentation.
_base_ = ['./pascal5i_base.py', './repri_pipelines.py']

size = _base_.repri_size
# An image is used when a base class covers at least so many pixels of it: --candidate-area
candidate_area = int('{{$MMFSS_CANDIDATE_AREA:2048}}')

train_pipeline = _base_.repri_base_train_pipeline
# Validation looks at base classes alone: the released code chooses its weights by episodes of the novel ones.
test_pipeline = _base_.repri_base_test_pipeline

train_dataloader = dict(
    dataset=dict(
        novel_label=255,
        image_filter='candidates',
        exclude_novel=False,
        candidate_area=candidate_area,
        pipeline=train_pipeline,
    )
)
val_dataloader = test_dataloader = dict(dataset=dict(novel_label=255, pipeline=test_pipeline))
