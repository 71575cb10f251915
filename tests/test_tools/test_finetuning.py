# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Fine-tuning from the command line: test, train, test."""

import pytest
import torch
from helpers import write_class_folders
from mmengine.config import Config
from mmengine.registry import init_default_scope
from tool_runs import CONFIGS, REPO, run

from mmfss.registry import MODELS


@pytest.mark.slow
def test_before_training_after(tmp_path):
    """The shipped data, schedule and guard on the tests' tiny network."""
    config, start = tmp_path / 'tiny_finetune.py', tmp_path / 'meta_learner.pth'
    tiny = Config.fromfile(CONFIGS / 'tiny_1shot.py').model.to_dict()
    config.write_text(f"""
_base_ = '{REPO}/configs/finetune/lite0_folder.py'
model = dict(backbone=dict(_delete_=True, **{tiny['backbone']}), decode_head=dict(**{tiny['decode_head']}))
work_dir = '{tmp_path / 'work'}'
load_from = '{start}'
max_iters = 3
train_cfg = dict(max_iters=max_iters)
train_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = dict(num_workers=0, dataset=dict(protocol=dict(runs=1, episodes=8)))
""")
    data = '--data-root', write_class_folders(tmp_path / 'mine', ('red', 'green'), images=8, size=(60, 80))
    output = run('train.py', config, *data, fails=True)
    assert 'meta_learner.pth does not exist' in output
    init_default_scope('mmfss')
    ensemble = MODELS.build({**tiny, 'base_checkpoint': None})
    meta = dict(dataset_meta=dict(fold=0, class_names=('background', 'cat', 'dog'), base_class_ids=(1, 2)))
    torch.save(dict(state_dict=ensemble.state_dict(), meta=meta), start)
    before = run('test.py', config, start, *data)
    run('train.py', config, *data)
    tuned = tmp_path / 'work/meta_learner.pth'
    after = run('test.py', config, tuned, *data)
    hashes = [[line for line in text.splitlines() if ' hash ' in line] for text in (before, after)]
    assert hashes[0] == hashes[1] and '8 episodes' in hashes[0][0] and '| green' in after
    state = torch.load(tuned, weights_only=True)['state_dict']
    moved = {key.split('.')[0] for key, value in state.items() if not torch.equal(value, ensemble.state_dict()[key])}
    assert moved == {'decode_head'} and not any(key.startswith('base_head') for key in state)
