# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What the converters of released models share as command-line tools."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from mmfss.utils.files import atomic_torch_save

from .files import checkpoint_meta, fit, read_weights
from .names import ConversionError
from .variant import Variant


def make_parser(description: str) -> argparse.ArgumentParser:
    """``SRC DST [--fold N] [--trust]``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', help='released checkpoint')
    parser.add_argument('dst', help='checkpoint to write')
    parser.add_argument(
        '--fold', type=int, choices=range(4), help='fold (split) it was trained on; the weights do not say'
    )
    parser.add_argument(
        '--trust', action='store_true', help='read a file that holds Python objects too; they can run code'
    )
    return parser


def convert_file(args: argparse.Namespace, convert: Callable) -> Variant:
    """Read, detect, rename, check against the config, say what it is, and write.

    Args:
        args (argparse.Namespace): Of :func:`make_parser`.
        convert (Callable): Released state dict -> (Variant, converted state dict).

    Returns:
        Variant: What was detected.

    Raises:
        SystemExit: When the file does not fit; nothing was written.
    """
    try:
        variant, weights = convert(read_weights(args.src, args.trust))
        state = fit(variant, weights)
    except (ConversionError, FileNotFoundError) as error:
        sys.exit(f'{args.src}: {error}')
    meta = dict(checkpoint_meta(variant, args.fold), source=Path(args.src).name)
    atomic_torch_save(dict(state_dict=state, meta=meta), args.dst)
    print(
        f'{args.src}: {variant}\nconfig:  {variant.config}\n'
        f"written: {args.dst} ({len(state)} tensors, loaded strictly into the config's model)"
    )
    if args.fold is None:
        print('note: weights do not say their fold. With --fold N tools/test.py can refuse another one.')
    return variant
