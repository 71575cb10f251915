#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Convert a released VAT checkpoint (Seokju-Cho/Volumetric-Aggregation-Transformer).

Either backbone and any data set, which the weights show; a whole training checkpoint or a bare state dict:

    python tools/model_converters/vat2mmfss.py best_model.pt DST --fold 0
    python tools/test.py CONFIG DST --fold 0      # CONFIG as printed
"""

from mmfss.conversion.cli import convert_file, make_parser
from mmfss.utils.plain_errors import plain_errors


@plain_errors('vat2mmfss')
def main() -> None:
    """Convert."""
    convert_file(make_parser(__doc__).parse_args(), 'vat')


if __name__ == '__main__':
    main()
