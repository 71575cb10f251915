# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What the converters of released models share as command-line tools."""

import argparse
import shlex
import sys
from pathlib import Path

from mmfss.utils.checkpoint_files import add_trust_option
from mmfss.utils.files import atomic_torch_save

from .files import check_fold, checkpoint_meta, load_into_config, read_weights
from .methods import METHODS, recognise
from .names import ConversionError
from .variant import RELEASED_DATASETS, Variant


def make_parser(description: str) -> argparse.ArgumentParser:
    """``SRC DST [--fold N] [--dataset NAME] [--trust-checkpoint]``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', help='released checkpoint')
    parser.add_argument('dst', help='checkpoint to write')
    parser.add_argument('--fold', type=int, help='fold (split) it was trained on; the weights do not say')
    parser.add_argument(
        '--dataset', choices=sorted(RELEASED_DATASETS), help='data set it was trained on, where the weights do not say'
    )
    add_trust_option(parser, '--trust')
    return parser


def convert_file(args: argparse.Namespace, method: str | None = None) -> Variant:
    """Read, detect, rename, check against the config, say what it is, and write.

    Args:
        args (argparse.Namespace): Of :func:`make_parser`.
        method (str, optional): Key of METHODS that the file must be of. Defaults to the one that recognises it.

    Returns:
        Variant: What was detected.

    Raises:
        SystemExit: When the file does not fit; nothing was written.
    """
    try:
        weights = read_weights(args.src)
        variant, converted = (METHODS[method] if method else recognise(weights)).convert(weights, args.dataset)
        check_fold(variant, args.fold)
        state = load_into_config(variant, converted)
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
    print(_next_step(variant, args))
    return variant


def _next_step(variant: Variant, args: argparse.Namespace) -> str:
    """The command that uses what was written."""
    if variant.released.base_learner:
        place, fold = f'{variant.backbone}_{variant.dataset}', 'N' if args.fold is None else args.fold
        return (
            f'stage 2: python tools/train.py configs/msanet/{place}_1shot.py --fold {fold}\n'
            f'  reads it from WORK_ROOT/{variant.method}/{place}/fold{fold}/base_learner.pth (--work-root, '
            'work_dirs by default)'
        )
    fold = '' if args.fold is None else f' --fold {args.fold}'
    # Quoted where a shell would read the value itself: brackets.
    options = shlex.join(f'{key}={value}' for key, value in variant.cfg_options.items())
    options = f' --cfg-options {options}' if options else ''
    return f'test it: python tools/test.py {variant.config} {args.dst}{fold}{options}'
