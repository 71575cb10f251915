#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Convert a released PSPNet base learner (BAM, MSANet) into the result of stage 1.

    python tools/model_converters/bam_base2mmfss.py SRC \\
        work_dirs/pspnet/r50_pascal/fold0/base_learner.pth --fold 0
    python tools/train.py configs/msanet/r50_pascal_1shot.py --fold 0     # trains stage 2 only
"""

from mmfss.models.conversion import convert_base_learner
from mmfss.models.conversion.cli import convert_file, make_parser


def main() -> None:
    """Convert."""
    parser = make_parser(__doc__)
    args = parser.parse_args()
    variant = convert_file(args, convert_base_learner)
    place = f'{variant.backbone}_{variant.dataset}'
    fold = 'N' if args.fold is None else args.fold
    print(
        f'stage 2: python tools/train.py configs/msanet/{place}_1shot.py --fold {fold}\n'
        f'  reads it from WORK_ROOT/pspnet/{place}/fold{fold}/base_learner.pth (--work-root, '
        'work_dirs by default)'
    )


if __name__ == '__main__':
    main()
