#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Convert a released checkpoint of any method that mmfss knows; which one is read from the weights.

python tools/model_converters/released2mmfss.py SRC DST --fold 0
python tools/test.py CONFIG DST --fold 0      # CONFIG as printed
"""

from mmfss.conversion import METHODS
from mmfss.conversion.cli import convert_file, make_parser
from mmfss.utils.plain_errors import plain_errors


@plain_errors('released2mmfss')
def main() -> None:
    """Convert."""
    known = '\n'.join(f'    {method.title}' for method in METHODS.values())
    convert_file(make_parser(f'{__doc__}\nKnown methods:\n\n{known}').parse_args())


if __name__ == '__main__':
    main()
