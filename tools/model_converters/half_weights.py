#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Make a small file of a trained model: weights in half precision, nothing that only training needs.

    python tools/model_converters/half_weights.py meta_learner.pth mmfss/weights/lite0_photos.pth

FewShotInferencer, tools/test.py and the demos read it like the checkpoint it was made of. They compute in float32; a
weight is rounded to 11 bits.
"""

import argparse
import sys
from pathlib import Path

from mmfss.utils.checkpoint_files import add_trust_option
from mmfss.utils.files import atomic_torch_save
from mmfss.utils.plain_errors import plain_errors
from mmfss.utils.weights import model_state, read_checkpoint

KEPT = ('dataset_meta', 'mmfss_version', 'cfg')


def halved(checkpoint: dict) -> dict:
    """Its weights as float16, integers as they are, and what loading checks of its meta."""
    state = {name: t.half() if t.is_floating_point() else t for name, t in model_state(checkpoint).items()}
    too_large = [name for name, t in state.items() if t.is_floating_point() and not t.isfinite().all()]
    if too_large:
        raise ValueError(f'{len(too_large)} tensors exceed what half precision holds, the first is {too_large[0]}')
    meta = checkpoint.get('meta', {})
    return dict(state_dict=state, meta={key: meta[key] for key in KEPT if key in meta})


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The options of this tool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', help='file that training wrote')
    parser.add_argument('out', type=Path, help='file to write')
    add_trust_option(parser)
    return parser.parse_args(argv)


@plain_errors('half_weights')
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        small = halved(read_checkpoint(args.checkpoint))
        args.out.parent.mkdir(parents=True, exist_ok=True)
        atomic_torch_save(small, args.out)
    except (OSError, ValueError) as error:
        print(f'half_weights.py: {error}', file=sys.stderr)
        return 1
    print(f'{args.out}: {args.out.stat().st_size / 2**20:.1f} MiB')
    return 0


if __name__ == '__main__':
    sys.exit(main())
