#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""One training on several machines of a Ray cluster: on each of them one torchrun, which starts one process a GPU.

    ray job submit --working-dir . -- python tools/launch/ray_train.py --nodes 2 --gpus 8 \\
        configs/msanet/r101_pascal_1shot.py --fold 0 --resume

Options that are not listed here are those of tools/train.py. Data, weights and work dirs lie on storage that all
machines have under the same path; the repository may be the job's working directory.
"""

import argparse
import os
import socket
import subprocess
import sys
from pathlib import Path

import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from mmfss.utils.plain_errors import plain_errors

TRAIN = Path('tools/dist_train.sh')  # below the working directory, which Ray copies to every machine


def rendezvous() -> tuple[str, int]:
    """Address of this machine, and a port that is free on it."""
    with socket.socket() as free:
        free.bind(('', 0))
        return ray.util.get_node_ip_address(), free.getsockname()[1]


def train(rank: int, address: str, port: int, args: argparse.Namespace, options: list[str]) -> int:
    """Run the training's part of one machine to its end.

    Args:
        rank (int): Number of the machine; 0 is the one with the address.
        address (str): Where the processes meet.
        port (int): The port there.
        args (argparse.Namespace): The options of this tool.
        options (list[str]): Those of tools/train.py.

    Returns:
        int: Exit status.
    """
    names = dict(NNODES=args.nodes, NODE_RANK=rank, MASTER_ADDR=address, MASTER_PORT=port)
    env = {**os.environ, 'PYTHON': sys.executable, **{key: str(value) for key, value in names.items()}}
    if args.cpu:
        env['CUDA_VISIBLE_DEVICES'] = '-1'
    return subprocess.run(['bash', str(TRAIN), args.config, str(args.gpus), *options], env=env).returncode


def run_on_cluster(args: argparse.Namespace, options: list[str]) -> list[int]:
    """Exit statuses of all machines, once every part has ended or one has failed."""
    share = dict(CPU=args.cpus) if args.cpu else dict(CPU=args.cpus, GPU=args.gpus)
    group = placement_group([share] * args.nodes, strategy='STRICT_SPREAD')
    ray.get(group.ready())

    def place(rank: int, **resources) -> dict:
        strategy = PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=rank)
        return dict(num_cpus=0, scheduling_strategy=strategy, max_retries=0, **resources)

    address, port = ray.get(ray.remote(rendezvous).options(**place(0)).remote())
    part, gpus = ray.remote(train), 0 if args.cpu else args.gpus
    waiting = [
        part.options(**place(rank, num_gpus=gpus)).remote(rank, address, port, args, options)
        for rank in range(args.nodes)
    ]
    statuses = []
    while waiting:
        done, waiting = ray.wait(waiting)
        statuses += ray.get(done)
        if any(statuses):
            break  # the others would wait for the part that is gone; they end with this job
    return statuses


@plain_errors('ray_train')
def main() -> None:
    """Start the parts and wait for them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of the training')
    parser.add_argument('--nodes', type=int, required=True, metavar='N', help='machines')
    parser.add_argument('--gpus', type=int, required=True, metavar='G', help='processes on each machine, one a GPU')
    parser.add_argument('--cpus', type=float, default=1, metavar='C', help='CPU cores asked for on each machine')
    parser.add_argument('--cpu', action='store_true', help='train on CPUs')
    args, options = parser.parse_known_args()
    ray.init()
    sys.exit(max(run_on_cluster(args, options)))


if __name__ == '__main__':
    main()
