# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from .check import compare, structured_input, time_ratio
from .description import describe
from .graphs import QuerySegmenter, SupportEncoder, exportable
from .programs import export_onnx, export_program, record

__all__ = [
    'QuerySegmenter',
    'SupportEncoder',
    'compare',
    'describe',
    'export_onnx',
    'export_program',
    'exportable',
    'record',
    'structured_input',
    'time_ratio',
]
