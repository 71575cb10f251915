# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from .checkouts import check_checkout
from .field import agreement, line_up, peer_of
from .measuring import MEASURES, describe, measure_calls, measure_evaluation, measure_parts
from .models import PRECISIONS, Setup, config_shots
from .plain import PLAIN_FILE
from .report import add_ratios, commit, machine, table
from .timing import matrix_product_speed

__all__ = [
    'MEASURES',
    'PLAIN_FILE',
    'PRECISIONS',
    'Setup',
    'add_ratios',
    'agreement',
    'check_checkout',
    'commit',
    'config_shots',
    'describe',
    'line_up',
    'machine',
    'matrix_product_speed',
    'measure_calls',
    'measure_evaluation',
    'measure_parts',
    'peer_of',
    'table',
]
