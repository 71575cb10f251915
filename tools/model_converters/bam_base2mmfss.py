#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Convert a released PSPNet base learner (BAM, MSANet) into the result of stage 1.

    python tools/model_converters/bam_base2mmfss.py SRC \\
        work_dirs/pspnet/r50_pascal/fold0/base_learner.pth --fold 0
    python tools/train.py configs/msanet/r50_pascal_1shot.py --fold 0     # trains stage 2 only
"""

from mmfss.conversion.cli import convert_file, make_parser
from mmfss.utils.plain_errors import plain_errors


@plain_errors('bam_base2mmfss')
def main() -> None:
    """Convert."""
    convert_file(make_parser(__doc__).parse_args(), 'pspnet')


if __name__ == '__main__':
    main()
