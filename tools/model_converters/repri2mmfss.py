#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Convert a released RePRI checkpoint (mboudiaf/RePRI-for-Few-Shot-Segmentation).

Any backbone and data set; a whole training checkpoint or a bare state dict. It is stage 1's PSPNet and serves every
number of shots:

    python tools/model_converters/repri2mmfss.py SRC DST --fold 0
    python tools/test.py CONFIG DST --fold 0      # CONFIG as printed
"""

from mmfss.conversion.cli import convert_file, make_parser
from mmfss.utils.plain_errors import plain_errors


@plain_errors('repri2mmfss')
def main() -> None:
    """Convert."""
    convert_file(make_parser(__doc__).parse_args(), 'repri')


if __name__ == '__main__':
    main()
