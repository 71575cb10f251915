# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from .metrics import FewShotIoUMetric, NWayIoUMetric
from .presence import at_min_score, auroc, false_positives, mean_auroc
from .report import format_report, read_report, report_name, summarise, write_report

__all__ = [
    'FewShotIoUMetric',
    'NWayIoUMetric',
    'at_min_score',
    'auroc',
    'false_positives',
    'format_report',
    'mean_auroc',
    'read_report',
    'report_name',
    'summarise',
    'write_report',
]
