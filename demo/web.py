#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Few-shot segmentation in the browser: paint an object in one image, find it in others.

    pip install -r requirements/demo.txt
    python demo/web.py CONFIG CHECKPOINT

CONFIG is a config file or a model name such as msanet/lite0_pascal_1shot; a method that learns nothing, such as
prototype/lite0_pascal, has no CHECKPOINT. Only this machine reaches the page unless --host says otherwise; then
everybody who reaches the machine can use it.
"""

import argparse
import logging
import signal
import sys


def make_parser() -> argparse.ArgumentParser:
    """The options of this tool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'config',
        metavar='CONFIG',
        nargs='?',
        help='config file or model name; left out: the model that comes with mmfss',
    )
    parser.add_argument(
        'checkpoint',
        metavar='CHECKPOINT',
        nargs='?',
        help='checkpoint of the meta learner; left out, or `none`, for a method that learns nothing',
    )
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on (%(default)s: this machine only)')
    parser.add_argument('--port', type=int, help='by default the first free one from 7860')
    parser.add_argument(
        '--max-upload-mb', type=_positive, default=32, metavar='MB', help='largest upload (%(default)s)'
    )
    parser.add_argument(
        '--max-megapixels', type=_positive, default=40, metavar='N', help='largest image that is decoded (%(default)s)'
    )
    parser.add_argument(
        '--max-images',
        type=_whole,
        default=24,
        metavar='N',
        help='images of one run; their scores stay in memory (%(default)s)',
    )
    parser.add_argument('--threshold', type=float, default=0.5, help='where the slider stands at first (%(default)s)')
    parser.add_argument('--batch-size', type=_whole, default=4, help='images at once (%(default)s)')
    parser.add_argument('--device', help="such as 'cuda:0' or 'cpu'; by default a GPU where there is one")
    parser.add_argument(
        '--precision',
        choices=('float32', 'bfloat16', 'auto'),
        help='number format to compute in; bfloat16 is faster where the device computes in it, auto takes '
        "it there (the model's own, float32 as a rule)",
    )
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='read a checkpoint that holds Python objects too; they can run code',
    )
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f'{text} is not a number above 0')
    return value


def _whole(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text} is not 1 or more')
    return value


def run(args: argparse.Namespace) -> None:
    """Load the model and serve the page until interrupted."""
    from web_demo import Limits, build_app, serve  # tells what to install before the model is loaded

    from mmfss.apis import FewShotInferencer
    from mmfss.utils.checkpoint_files import trust_checkpoints

    if args.trust_checkpoint:
        trust_checkpoints()
    inferencer = FewShotInferencer(
        args.config, args.checkpoint, args.device, show_progress=False, precision=args.precision
    )
    limits = Limits(max_pixels=round(args.max_megapixels * 1e6), max_queries=args.max_images)
    app = build_app(inferencer, limits, args.threshold, args.batch_size)
    serve(app, args.host, args.port, args.max_upload_mb, limits)


def main(argv: list[str] | None = None) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    if not 0 < args.threshold < 1:
        parser.error('--threshold lies between 0 and 1')
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # an orderly end removes the uploads
    try:
        run(args)
    except (ImportError, OSError, ValueError) as error:
        if isinstance(error, ImportError) and error.name != 'gradio':
            raise
        print(f'web.py: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    logging.disable(logging.INFO)  # mmengine tells every environment variable that a config reads
    sys.exit(main())
