#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Export a model as two graphs, check them against torch, and compare their speed.

    python tools/deployment/export.py CONFIG CHECKPOINT --out exported
    python tools/deployment/export.py CONFIG CHECKPOINT --out exported --format torch_export --shots 1

`support_encoder` turns supports into a bank, `segmenter` a query and a bank into scores; `export.json` says how images
are prepared. docs/deployment.md explains, demo/onnx_segment.py uses them.
"""

import argparse
import importlib.util
import json
import logging
import sys
import warnings
from pathlib import Path

import torch
from mmengine.logging import MMLogger
from torch import Tensor

from mmfss.apis.model import build_model
from mmfss.deployment import (
    compare,
    describe,
    export_onnx,
    export_program,
    exportable,
    record,
    structured_input,
    time_ratio,
)
from mmfss.deployment.check import Runner, reference
from mmfss.deployment.description import geometry
from mmfss.deployment.programs import ENCODER, SEGMENTER
from mmfss.engine.cli import add_run_options, load_config
from mmfss.utils.files import atomic_write, check_writable
from mmfss.utils.plain_errors import plain_errors

SUFFIX = dict(onnx='.onnx', torch_export='.pt2')
DIFFERENCE = 1e-3  # of scores, at most


def parse_args(argv: list[str] | None = None) -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file that the model was trained with')
    parser.add_argument('checkpoint', help='checkpoint file, or `none` for a method that learns nothing')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='folder for the graphs and export.json')
    parser.add_argument('--format', choices=list(SUFFIX), default='onnx', help='onnx or torch_export (onnx)')
    parser.add_argument(
        '--shots',
        type=int,
        metavar='K',
        help='fixed number of supports (default: any number, or the one that the shot weights of '
        'the model were learnt for)',
    )
    parser.add_argument(
        '--size',
        type=int,
        metavar='PIXELS',
        help="side of the images for check and timing (default: that of the config's test pipeline)",
    )
    add_run_options(parser)
    args = parser.parse_args(argv)
    if (args.shots is not None and args.shots < 1) or (args.size is not None and args.size < 32):
        parser.error('--shots must be at least 1, --size at least 32')
    if args.format == 'onnx' and (
        missing := [name for name in ('onnx', 'onnxscript', 'onnxruntime') if importlib.util.find_spec(name) is None]
    ):
        parser.error(f'--format onnx needs {", ".join(missing)}: pip install -r requirements/deploy.txt')
    return args, parser


def load_exported(folder: Path, form: str, names: list[str]) -> tuple:
    """Encoder and segmenter as functions from tensors to tensors, read back from the files."""
    paths = [str(folder / (name + SUFFIX[form])) for name in (ENCODER, SEGMENTER)]
    if form == 'torch_export':
        return tuple(torch.no_grad()(torch.export.load(path).module()) for path in paths)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # as many as torch takes: the timing compares
    encoder, segmenter = (onnxruntime.InferenceSession(path, options, ['CPUExecutionProvider']) for path in paths)
    read = {value.name for value in segmenter.get_inputs()}

    def encode(images: Tensor, masks: Tensor) -> list[Tensor]:
        return [torch.from_numpy(t) for t in encoder.run(names, dict(images=images.numpy(), masks=masks.numpy()))]

    def segment(query: Tensor, *bank: Tensor) -> Tensor:
        given = dict(query=query, **dict(zip(names, bank, strict=True)))
        return torch.from_numpy(segmenter.run(['scores'], {k: t.numpy() for k, t in given.items() if k in read})[0])

    return encode, segment


def check(run: Runner, original: Runner, shots: int | None, size: int) -> bool:
    """Print the differences on two inputs of different sizes and numbers of supports; whether all are small."""
    counts = (shots, shots) if shots else (1, 3)
    odd = size * 3 // 4 // 8 * 8 + 1
    inputs = [
        structured_input(counts[0], (size, size), (size, size)),
        structured_input(counts[1], (odd, size), (size + 8, odd), seed=1),
    ]
    fine = True
    for (images, _, query), (difference, same) in zip(inputs, compare(run, original, inputs), strict=True):
        print(
            f'K = {len(images)}, supports {tuple(images.shape[-2:])}, query {tuple(query.shape[-2:])}: scores differ '
            f'by {difference:.1e} at most, {same:.3%} of the mask pixels agree'
        )
        fine &= difference <= DIFFERENCE
    return fine


def benchmark(exported: tuple, model, shots: int | None, size: int, form: str) -> None:
    """Print how long torch and the exported graphs take for supports and for a query."""
    images, masks, query = structured_input(shots or 1, (size, size), (size, size), seed=2)
    with torch.no_grad():
        own = model.encode_support(images.unsqueeze(0), masks.unsqueeze(0))
        bank = exported[0](images, masks)
        for what, ours, theirs in (
            (
                f'encode {len(images)} support(s)',
                lambda: model.encode_support(images[None], masks[None]),
                lambda: exported[0](images, masks),
            ),
            (
                'segment a query',
                lambda: model.segment(model.extract_feat(query), own),
                lambda: exported[1](query, *bank),
            ),
        ):
            a, b = time_ratio(ours, theirs)
            print(
                f'{what} of {size}x{size}: torch {a * 1000:.0f} ms, {form} {b * 1000:.0f} ms, {a / b:.2f} times as '
                f'fast ({torch.get_num_threads()} threads, CPU, float32)'
            )


def export(args: argparse.Namespace, parser: argparse.ArgumentParser) -> bool:
    """Export and check; whether the check passed."""
    cfg = load_config(args, parser)
    check_writable(args.out)
    model = build_model(cfg, args.checkpoint, 'cpu')
    learnt = model.decode_head.fixed_shots
    if learnt and args.shots not in (None, learnt):
        parser.error(f'--shots {args.shots}: the shot weights of this model were learnt for {learnt} supports')
    shots = args.shots or learnt
    size = args.size or next((step['size'] for step in geometry(cfg) if 'size' in step), 257)

    clean = exportable(model)
    programs, names = record(clean, shots)
    args.out.mkdir(parents=True, exist_ok=True)
    files = {name: name + SUFFIX[args.format] for name in programs}
    for name, program in programs.items():
        path = args.out / files[name]
        if args.format == 'onnx':
            ends = (['images', 'masks'], names) if name == ENCODER else (['query', *names], ['scores'])
            export_onnx(program, path, *ends)
        else:
            export_program(program, path)
        print(f'{path} ({path.stat().st_size / 2**20:.1f} MiB)')
    facts = describe(cfg, model, names, shots, files)
    atomic_write((json.dumps(facts, indent=2) + '\n').encode(), args.out / 'export.json')

    exact = float32(model)
    encode, segment = load_exported(args.out, args.format, names)
    fine = check(lambda images, masks, query: segment(query, *encode(images, masks)), reference(exact), shots, size)
    benchmark((encode, segment), exact, shots, size, args.format)
    return fine


def float32(model):
    """The model without the half precision that its backbone may compute in, which no graph here does."""
    for module in model.modules():
        if getattr(module, 'compute_dtype', None):
            module.compute_dtype = None
    model.precision = 'float32'
    return model


@plain_errors('export')
def main(argv: list[str] | None = None) -> int:
    args, parser = parse_args(argv)
    MMLogger.get_current_instance().setLevel(logging.WARNING)
    warnings.filterwarnings('ignore', module=r'torch|onnxscript|copyreg')
    try:
        if export(args, parser):
            return 0
        print(
            f'export.py: the exported graphs do not compute what the model does (scores may differ by {DIFFERENCE}); '
            'do not use them',
            file=sys.stderr,
        )
    except (OSError, ValueError, RuntimeError) as error:
        print(f'export.py: {error}', file=sys.stderr)
    return 1


if __name__ == '__main__':
    sys.exit(main())
