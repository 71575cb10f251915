# tiny_base.py with a hook that fails in one process.
_base_ = './tiny_base.py'

custom_imports = dict(imports=['failing_rank_hook'])
custom_hooks = [dict(type='FailingRankHook')]
work_dir = f'{_base_.work_root}/tiny_failing_rank/fold{_base_.fold}'
