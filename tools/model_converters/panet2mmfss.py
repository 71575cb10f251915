#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Convert a released PANet checkpoint (kaixin96/PANet).

Any backbone, data set and number of shots; a whole training checkpoint or a bare state dict, of one GPU or several:

    python tools/model_converters/panet2mmfss.py SRC DST --fold 0 --dataset pascal
    python tools/test.py CONFIG DST --fold 0      # CONFIG as printed
"""

from mmfss.conversion.cli import convert_file, make_parser
from mmfss.utils.plain_errors import plain_errors


@plain_errors('panet2mmfss')
def main() -> None:
    """Convert."""
    convert_file(make_parser(__doc__).parse_args(), 'panet')


if __name__ == '__main__':
    main()
