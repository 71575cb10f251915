# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch.utils.data import Dataset

from mmfss.engine import ResultFileHook
from mmfss.evaluation import read_report

META = dict(
    class_names=('background', 'ant', 'bee'),
    eval_class_ids=(1, 2),
    fold=0,
    shots=1,
    protocol='balanced',
    episodes_hash='f00',
    support_control='base',
)


class Episodes(Dataset):
    """Four made-up episodes."""

    metainfo = META

    def __len__(self):
        return 4

    def __getitem__(self, index):
        label = PixelData(data=torch.ones(1, 4, 4, dtype=torch.long))
        sample = SegDataSample(gt_sem_seg=label)
        sample.set_metainfo(dict(run=0, episode=index, class_id=1 + index % 2))
        return dict(inputs=torch.zeros(1), data_samples=sample)


class AllForeground(BaseModel):
    """Calls everything foreground."""

    def forward(self, inputs, data_samples, mode):
        for sample in data_samples:
            sample.pred_sem_seg = PixelData(data=torch.ones_like(sample.gt_sem_seg.data))
        return data_samples


def test_the_report_lies_next_to_the_log(tmp_path):
    loader = dict(dataset=Episodes(), batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
    runner = Runner(
        model=AllForeground(),
        work_dir=str(tmp_path),
        test_dataloader=loader,
        test_cfg=dict(),
        test_evaluator=dict(type='mmfss.FewShotIoUMetric', bootstrap=10),
        custom_hooks=[dict(type='mmfss.ResultFileHook')],
        default_scope='mmfss',
        experiment_name='result_file',
        cfg=Config(dict(a=1)),
    )
    assert any(isinstance(hook, ResultFileHook) for hook in runner.hooks)
    assert runner.test()['mIoU'] > 99.99
    files = list((tmp_path / runner.timestamp).glob('results_*.json'))
    assert [f.name for f in files] == ['results_balanced_base.json']
    report = read_report(str(files[0]))
    assert report['config'].startswith('result_file') and report['checkpoint'] is None
    assert report['episodes_hash'] == 'f00' and len(report['episodes']) == 4
