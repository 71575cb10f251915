#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Convert a released HSNet checkpoint (juhongm999/hsnet).

Any backbone, data set and number of shots; the ImageNet classifier that the file carries is dropped:

    python tools/model_converters/hsnet2mmfss.py SRC DST --fold 0 --dataset pascal
    python tools/test.py CONFIG DST --fold 0      # CONFIG as printed
"""

from mmfss.conversion.cli import convert_file, make_parser
from mmfss.utils.plain_errors import plain_errors


@plain_errors('hsnet2mmfss')
def main() -> None:
    """Convert."""
    convert_file(make_parser(__doc__).parse_args(), 'hsnet')


if __name__ == '__main__':
    main()
