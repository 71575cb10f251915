# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Makes PASCAL-5i from the official downloads: VOC 2012 trainval and SBD.

python tools/dataset_converters/pascal5i.py --voc VOCtrainval_11-May-2012.tar --sbd benchmark.tgz
python tools/dataset_converters/pascal5i.py --voc data/VOCdevkit/VOC2012 --sbd benchmark_RELEASE

Writes SegmentationClassAug (12,031 index PNGs), ImageSets/Segmentation/train_5953.txt (the published training list)
and trainaug.txt (10,582). val.txt (1,449) is VOC's own. After an interruption the same command resumes.
"""

import argparse
import sys
from pathlib import Path

from mmfss.datasets.preparation import PreparationError, prepare_pascal
from mmfss.utils.plain_errors import plain_errors


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--voc', type=Path, required=True, help="VOC's archive, or the folder it was unpacked to")
    parser.add_argument('--sbd', type=Path, required=True, help="SBD's benchmark.tgz, or the folder it was unpacked to")
    parser.add_argument('--out', type=Path, help='data root to make from an archive (data/VOCdevkit/VOC2012)')
    parser.add_argument('--workers', type=int, help='processes (one a core); 0: none but this one')
    return parser.parse_args(argv)


@plain_errors('pascal5i')
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        lists = prepare_pascal(args.voc, args.sbd, args.out, workers=args.workers)
    except (PreparationError, OSError) as error:
        sys.exit(f'pascal5i: {error}')
    except KeyboardInterrupt:
        sys.exit('\npascal5i: interrupted; the same command resumes.')
    print('written: SegmentationClassAug, ' + ', '.join(f'{name}.txt ({n})' for name, n in lists.items()))
    print('next: python tools/dataset_converters/verify.py pascal5i --data-root DATA_ROOT')


if __name__ == '__main__':
    main()
