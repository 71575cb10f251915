# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from .metrics import FewShotIoUMetric
from .report import format_report, read_report, report_name, summarise, write_report

__all__ = [
    'FewShotIoUMetric',
    'format_report',
    'read_report',
    'report_name',
    'summarise',
    'write_report',
]
