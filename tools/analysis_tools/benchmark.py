#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Measure speed and memory of a config beside a peer that computes the same from the same weights.

    python tools/analysis_tools/benchmark.py configs/msanet/r50_pascal_1shot.py
    python tools/analysis_tools/benchmark.py configs/msanet/r50_pascal_5shot.py --reference ../MSANet --json r50.json

Needs no data and no checkpoint. Joint forward, supports to bank, query against a bank, training step and evaluation,
the competitors in turns; see docs/performance.md for how it is measured and for --reference.
"""

import argparse
import dataclasses
import logging
import shlex
import sys
from collections.abc import Sequence

import mmengine.device.utils
import torch
from mmengine.logging import MMLogger

from mmfss.benchmark import (
    MEASURES,
    PLAIN_FILE,
    PRECISIONS,
    Setup,
    add_ratios,
    agreement,
    check_checkout,
    commit,
    config_shots,
    describe,
    line_up,
    machine,
    matrix_product_speed,
    measure_calls,
    measure_evaluation,
    measure_parts,
    peer_of,
    table,
)
from mmfss.benchmark.competitors import Own
from mmfss.engine.cpu_memory import keep_freed_memory
from mmfss.engine.weightless import without_checkpoint
from mmfss.utils.files import atomic_write_json
from mmfss.utils.plain_errors import plain_errors


def make_parser() -> argparse.ArgumentParser:
    """The options of this tool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of stage 2')
    parser.add_argument('checkpoint', nargs='?', default='none', help='its weights; `none`, the default: random ones')
    parser.add_argument('--shots', type=int, metavar='K', help="supports of an episode; default: the config's")
    parser.add_argument('--size', type=int, default=473, help='side of the images in pixels')
    parser.add_argument('--foreground', type=float, default=0.19, metavar='SHARE', help='of the supports, 0..1')
    parser.add_argument('--batch-size', type=int, default=1, metavar='B', help='episodes of a call')
    parser.add_argument('--precision', nargs='+', choices=PRECISIONS, default=['float32'], help='of mmfss')
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--reference', metavar='DIR', help='checkout of the released MSANet, HSNet or VAT, the peer')
    parser.add_argument('--parts', nargs='+', choices=MEASURES, default=list(MEASURES), help='what to measure')
    parser.add_argument('--rounds', type=int, default=5, metavar='N', help='rounds of each measure')
    parser.add_argument('--images', type=int, default=8, help='different images of the evaluation')
    parser.add_argument('--episodes', type=int, default=16, help='episodes of the evaluation')
    parser.add_argument('--evaluation-rounds', type=int, default=1, metavar='N', help='rounds of the evaluation')
    parser.add_argument('--no-memory', action='store_true', help='leave out the peaks of memory')
    parser.add_argument('--json', metavar='FILE', help='write everything there too')
    return parser


def make_setup(args: argparse.Namespace) -> Setup:
    """What the options ask for.

    Raises:
        FileNotFoundError: When the config or the checkout is missing.
        ValueError: When an option is impossible.
    """
    counts = ('shots', 'size', 'batch_size', 'rounds', 'images', 'episodes', 'evaluation_rounds')
    for name in counts:
        if (value := getattr(args, name)) is not None and value < 1:
            raise ValueError(f'--{name.replace("_", "-")} is {value}; it must be at least 1')
    if not 0 < args.foreground <= 1:
        raise ValueError(f'--foreground is {args.foreground}; it is a share of the image, above 0 and 1 at most')
    if args.device == 'cuda' and not torch.cuda.is_available():
        raise ValueError('--device cuda: torch finds no GPU here')
    if args.reference:
        check_checkout(args.reference)
    shots = args.shots or config_shots(args.config)
    if 'evaluate' in args.parts and args.images <= shots:
        raise ValueError(f'--images {args.images}: {shots} supports and a query need at least {shots + 1} images')
    return Setup(
        config=args.config,
        checkpoint=None if without_checkpoint(args.checkpoint) else args.checkpoint,
        shots=shots,
        size=args.size,
        share=args.foreground,
        batch_size=args.batch_size,
        precisions=tuple(dict.fromkeys(args.precision)),
        device=args.device,
        reference=args.reference,
        plain=str(PLAIN_FILE) if PLAIN_FILE.is_file() else None,
    )


def measure(setup: Setup, args: argparse.Namespace) -> dict:
    """Everything that the options ask for."""
    device = torch.device(setup.device)
    say('making the models')
    competitors = line_up(setup)
    peer = peer_of(competitors)
    result = dict(
        machine=machine(setup.device),
        commit=commit(),
        command=shlex.join(['python', 'tools/analysis_tools/benchmark.py', *args.command]),
        setup=dataclasses.asdict(setup),
        peer=None if peer is None else peer.name,
        agreement=agreement(competitors, setup),
        matrix_product={name: matrix_product_speed(getattr(torch, name), device) for name in setup.precisions},
        competitors={one.name: describe(one, setup) for one in competitors},
        measures={},
        parts={},
    )
    for name in (name for name in MEASURES if name in args.parts):
        say(f'measuring {name}')
        if name == 'evaluate':
            found = measure_evaluation(competitors, setup, args.images, args.episodes, args.evaluation_rounds)
        else:
            found = measure_calls(competitors, name, args.rounds, not args.no_memory, setup)
        result['measures'][name] = found
    if 'joint' in args.parts:
        say('measuring the parts of a joint forward')
        full = result['matrix_product'].get('float32') or matrix_product_speed(torch.float32, device)
        for one in competitors:
            speed = result['matrix_product'][one.precision] if isinstance(one, Own) else full
            result['parts'][one.name] = measure_parts(one, args.rounds, speed, setup)
    add_ratios(result['measures'], result['peer'])
    return result


def say(what: str) -> None:
    """Progress, beside the table."""
    print(f'{what} ...', file=sys.stderr, flush=True)


@plain_errors('benchmark')
def main(options: Sequence[str] | None = None) -> None:
    """Measure and print."""
    args = make_parser().parse_args(options)
    args.command = list(sys.argv[1:] if options is None else options)
    MMLogger.get_current_instance().setLevel(logging.ERROR)
    setup = make_setup(args)
    mmengine.device.utils.DEVICE = setup.device  # what the evaluation's runner takes
    keep_freed_memory()
    result = measure(setup, args)
    print(table(result))
    if args.json:
        atomic_write_json(result, args.json)


if __name__ == '__main__':
    main()
