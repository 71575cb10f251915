# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""tools/analysis_tools/kill_test.py, and with it that killed trainings go on; docs/reliability.md has longer rounds."""

import json
import signal

import pytest
import torch
from helpers import load_script
from tool_runs import CONFIGS, REPO, run


@pytest.mark.slow
@pytest.mark.parametrize('tool', ['train', 'cross_validate'])
def test_killed_runs_end_like_an_undisturbed_one(tiny_options, tmp_path, tool):
    fold = ['--fold', 1] if tool == 'train' else ['--folds', 1]
    options = '--kills', 3, '--only-main', '--out', tmp_path / 'out', tool, CONFIGS / 'tiny_1shot.py', '--'
    said = run('analysis_tools/kill_test.py', *options, *fold, *tiny_options[2:4])
    assert '3 kills' in said
    report = json.loads((tmp_path / 'out/report.json').read_text())
    assert len(report['kills']) == 3 and all(report['rounds']) and not report['cut_files'], said


def test_a_different_result_a_cut_file_and_a_failed_tool_are_told(tmp_path, capsys, monkeypatch):
    tool = load_script(REPO / 'tools/analysis_tools/kill_test.py')
    fake = tmp_path / 'train.py'
    fake.write_text(
        'import sys, time, torch, pathlib\n'
        'root = pathlib.Path(sys.argv[sys.argv.index("--work-root") + 1])\n'
        'if "undisturbed" not in str(root):\n'
        '    (root / "epoch_1.pth").write_bytes(b"cut"); (root / "results_a.json").write_text("{")\n'
        '    if (root / "begun").exists(): sys.exit("out of cats")\n'
        '    (root / "begun").write_text(""); time.sleep(60)\n'
        'torch.save(dict(state_dict=dict(a=torch.ones(1))), root / "meta_learner.pth")\n'
    )
    monkeypatch.setattr(tool, '_TOOLS', tmp_path)
    moments = iter([2.0])
    monkeypatch.setattr(tool.random.Random, 'uniform', lambda self, low, high: next(moments))
    with pytest.raises(SystemExit) as end:
        tool.main(['train', 'cfg.py', '--kills', '1', '--out', str(tmp_path / 'out')])
    said = capsys.readouterr()
    assert end.value.code == 1 and 'kill 1: round 0' in said.out
    assert 'out of cats' in said.err and 'failed with status 1' in said.err
    cut = tool.cut_files(tmp_path / 'out')
    assert len(cut) == 2 and 'epoch_1.pth' in cut[0] and 'results_a.json' in cut[1]
    torch.save(dict(state_dict=dict(a=torch.zeros(1))), tmp_path / 'out/killed_0/meta_learner.pth')
    args = tool.parse_args(['train', 'cfg.py'])
    (tmp_path / 'out/killed_0/epoch_1.pth').unlink()
    one, other = (tool.result(args, tmp_path / 'out' / name) for name in ('undisturbed', 'killed_0'))
    assert one.keys() == other.keys() and one != other


def test_processes_that_stay_behind_are_a_fault(tmp_path, monkeypatch):
    tool = load_script(REPO / 'tools/analysis_tools/kill_test.py')
    (tmp_path / 'train.py').write_text(
        'import subprocess, sys, time\nsubprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])\n'
        'print("started", flush=True)\ntime.sleep(60)\n'
    )
    monkeypatch.setattr(tool, '_TOOLS', tmp_path)
    monkeypatch.setattr(tool, '_LEAVE_WITHIN', 1)
    running = tool.Run(tool.parse_args(['train', 'cfg.py']), tmp_path / 'root')
    while 'started' not in running.log.read_text():
        assert not running.finish(0.05)
    with pytest.raises(tool.StopError, match='processes were left'):
        running.kill(only_main=True)
    assert running.process.returncode == -signal.SIGKILL
