#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Convert a released MSANet checkpoint (AIVResearch/MSANet): any backbone, data set and number of
shots, a whole training checkpoint or a bare state dict, of one GPU or several.

    python tools/model_converters/msanet2mmfss.py SRC DST --fold 0
    python tools/test.py CONFIG DST --fold 0      # CONFIG as printed
"""

from mmfss.models.conversion import convert_msanet
from mmfss.models.conversion.cli import convert_file, make_parser


def main() -> None:
    """Convert."""
    parser = make_parser(__doc__)
    args = parser.parse_args()
    variant = convert_file(args, convert_msanet)
    options = ' '.join(f'{key}={value}' for key, value in variant.cfg_options.items())
    options = f' --cfg-options {options}' if options else ''
    fold = '' if args.fold is None else f' --fold {args.fold}'
    print(f'test it: python tools/test.py {variant.config} {args.dst}{fold}{options}')


if __name__ == '__main__':
    main()
