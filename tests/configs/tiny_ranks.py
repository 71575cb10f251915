# tiny_1shot.py with a hook that writes what every process has learnt.
_base_ = './tiny_1shot.py'

custom_imports = dict(imports=['rank_dump_hook'])
custom_hooks = [dict(type='RankDumpHook')]
work_dir = f'{_base_.work_root}/tiny_ranks/{_base_.run_name}'
