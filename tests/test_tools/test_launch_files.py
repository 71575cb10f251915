# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The launch files of docs/scale.md: their form, and that what they start trains on two machines (here: one, twice)."""

import os
import shutil
import socket
import subprocess
import sys

import pytest
import yaml
from tool_runs import CONFIGS, REPO, environment

LAUNCH = REPO / 'tools' / 'launch'
SHELL = [*sorted((REPO / 'tools').glob('*.sh')), LAUNCH / 'slurm.sbatch']


def test_shell_files_have_no_faults():
    for path in SHELL:
        subprocess.run(['bash', '-n', path], check=True)
        assert path.read_text().count('set -euo pipefail') == 1
        if shutil.which('shellcheck'):
            subprocess.run(['shellcheck', path], check=True)


def job() -> tuple[dict, dict]:
    return tuple(yaml.safe_load_all((LAUNCH / 'kubernetes.yaml').read_text()))


def test_the_parts_of_the_kubernetes_job_fit_each_other():
    service, train = job()
    assert (service['apiVersion'], service['kind']) == ('v1', 'Service')
    assert (train['apiVersion'], train['kind']) == ('batch/v1', 'Job')
    spec, template = train['spec'], train['spec']['template']
    pod = template['spec']
    (container,) = pod['containers']
    env = {entry['name']: entry['value'] for entry in container['env']}
    assert all(isinstance(value, str) for value in (*env.values(), *container['command'], *container['args']))
    # pods have names, before they are ready, by the headless service that they name as their subdomain
    assert service['spec']['clusterIP'] == 'None' and service['spec']['publishNotReadyAddresses'] is True
    assert service['spec']['selector'].items() <= template['metadata']['labels'].items()
    assert pod['subdomain'] == service['metadata']['name']
    assert env['MASTER_ADDR'] == f'{train["metadata"]["name"]}-0.{pod["subdomain"]}'
    assert int(env['MASTER_PORT']) == service['spec']['ports'][0]['port']
    assert spec['completionMode'] == 'Indexed'
    assert spec['completions'] == spec['parallelism'] == int(env['NNODES'])
    assert container['args'][1] == container['resources']['limits']['nvidia.com/gpu']
    assert {mount['name'] for mount in container['volumeMounts']} == {volume['name'] for volume in pod['volumes']}
    assert (REPO / container['args'][0]).is_file() and '--resume' in container['args']


def free_port() -> str:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return str(free.getsockname()[1])


def machine_environment(**variables) -> dict:
    """For two torchruns that stand for two machines; gloo would look the host's name up."""
    return {**environment(), 'GLOO_SOCKET_IFNAME': 'lo', 'MASTER_PORT': free_port(), **variables}


def check_both_trained(folder):
    assert {path.name for path in folder.glob('rank*.pth')} == {'rank0.pth', 'rank1.pth'}
    assert len(list(folder.glob('best_mIoU_*.pth'))) == 1


@pytest.fixture
def small(trained_1shot, tiny_options, tmp_path):
    """Options of a training that finds its base learner, and where it writes."""
    learner = tiny_options[-1] / 'tiny_base'
    shutil.copytree(learner, tmp_path / 'tiny_base')
    return [*map(str, tiny_options[:-1]), str(tmp_path)], tmp_path / 'tiny_ranks' / 'fold1'


@pytest.mark.slow
def test_the_slurm_file_trains_on_two_machines(small, tmp_path):
    """With an srun and an scontrol of the test in place of Slurm's."""
    options, folder = small
    tools = tmp_path / 'bin'
    tools.mkdir()
    (tools / 'scontrol').write_text('#!/bin/sh\nprintf "127.0.0.1\\nother\\n"\n')
    (tools / 'srun').write_text(
        '#!/bin/bash\nwhile [ "${1#--}" != "$1" ]; do shift; done\n'
        'SLURM_NODEID=1 "$@" & SLURM_NODEID=0 "$@" && wait $!\n'
    )
    for tool in tools.iterdir():
        tool.chmod(0o755)
    env = machine_environment(
        PATH=f'{tools}:{os.environ["PATH"]}',
        SLURM_SUBMIT_DIR=str(REPO),
        SLURM_GPUS_ON_NODE='1',
        SLURM_JOB_NUM_NODES='2',
        SLURM_JOB_NODELIST='machines',
        SLURM_JOB_ID='7',
    )
    script = shutil.copy(LAUNCH / 'slurm.sbatch', tmp_path)  # as Slurm does
    done = subprocess.run(
        ['bash', script, CONFIGS / 'tiny_ranks.py', *options], env=env, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    check_both_trained(folder)


@pytest.mark.slow
def test_the_kubernetes_command_trains_on_two_machines(small):
    options, folder = small
    container = job()[1]['spec']['template']['spec']['containers'][0]
    env = {entry['name']: entry['value'] for entry in container['env']}
    env.update(machine_environment(MASTER_ADDR='127.0.0.1'))
    command = [*container['command'], str(CONFIGS / 'tiny_ranks.py'), '1', '--resume', *options]
    pods = [
        subprocess.Popen(command, cwd=REPO, env={**env, 'JOB_COMPLETION_INDEX': index}, stderr=subprocess.STDOUT)
        for index in '01'
    ]
    assert [pod.wait(600) for pod in pods] == [0, 0]
    check_both_trained(folder)


@pytest.mark.slow
def test_the_ray_file_trains_on_two_machines(small):
    """On a local cluster of two nodes."""
    pytest.importorskip('ray')
    options, folder = small
    script = (
        'import runpy, sys\nfrom ray.cluster_utils import Cluster\n'
        'cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1))\n'
        'cluster.add_node(num_cpus=1)\ncluster.wait_for_nodes()\n'
        'import os; os.environ["RAY_ADDRESS"] = cluster.address\n'
        'sys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name="__main__")\n'
    )
    arguments = ['tools/launch/ray_train.py', str(CONFIGS / 'tiny_ranks.py'), '--nodes', '2', '--gpus', '1', '--cpu']
    done = subprocess.run(
        [sys.executable, '-c', script, *arguments, *options],
        cwd=REPO,
        env=machine_environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    check_both_trained(folder)
