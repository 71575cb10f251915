# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Made-up evaluated episodes for the tests."""

import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

META = dict(
    class_names=('background', 'ant', 'bee', 'cow', 'dog'),
    base_class_ids=(1, 2),
    fold=1,
    shots=1,
    novel_class_ids=(3, 4),
    eval_class_ids=(3, 4),
    protocol='balanced',
    episodes_hash='abc123',
    num_runs=2,
    support_control=None,
    missing_classes_as_zero=False,
)


def pixels(array) -> PixelData:
    return PixelData(data=torch.as_tensor(np.asarray(array), dtype=torch.long)[None])


def make_sample(
    run: int, episode: int, class_id: int | None = None, outputs=('final', 'meta'), size=(6, 7)
) -> SegDataSample:
    """An episode whose maps follow from (run, episode) alone."""
    rng = np.random.default_rng([run, episode])
    sample = SegDataSample(gt_sem_seg=pixels(rng.choice([0, 1, 1, 255], size)))
    for name in outputs:
        key = 'pred_sem_seg' if name == 'final' else f'pred_{name}_seg'
        sample.set_field(pixels(rng.integers(0, 2, size)), key)
    class_id = class_id or (3, 4)[episode % 2]
    sample.set_metainfo(
        dict(
            run=run,
            episode=episode,
            class_id=class_id,
            class_name=META['class_names'][class_id],
            img_path=f'/data/q{episode}.jpg',
            support_paths=[f'/data/s{episode}.jpg'],
        )
    )
    return sample
